"""TaskRes: a learned residual of each class prototype."""

from dataclasses import dataclass, field
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Report, StackedMethod, models_in_memory
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Recipe, Training, TrainingSettings

RECIPES = {
    # Yu et al. 2023, section 4.1, with the warm-up epoch of CoOp's trainer it runs in.
    "paper": Recipe(
        optimizer="adam",
        learning_rate=2e-3,
        weight_decay=5e-4,
        epochs=((4, 100), (16, 200)),
        batch_size=256,
        warmup_epochs=1,
        schedule="epochs",
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=2e-2,
        weight_decay=1.0,
        epochs=((1, 20), (2, 12), (4, 8), (16, 10)),
        batch_size=64,
    ),
}


@dataclass(frozen=True, kw_only=True)
class TaskRes(StackedMethod):
    """A residual of each class prototype, learned from zero.

    `w'_c = w_c + alpha * x_c`, trained by cross-entropy of `logit_scale * cos(f, w'_c)` (Yu et
    al. 2023, https://arxiv.org/abs/2211.10277, section 3.2). Here w has length 1.
    The authors' w has the length s of the encoder's text feature, and learns with alpha what a w of
    length 1 learns with alpha / s: CLIP's text features have lengths of about 10, so that the
    smallest of our candidates is nearest their 0.5.

    Attributes:
        alphas: candidates for alpha, all trained together, of which validation chooses.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: the grid is empty or a number below 0.
    """

    name: ClassVar[str] = "task-res"

    alphas: tuple[float, ...] = (0.05, 0.1, 0.5, 1.0)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    @property
    def n_candidates(self) -> int:
        """Number of alphas."""
        return len(self.alphas)

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the residuals of a task."""
        return self.training.resolve(RECIPES, shots=task.shots)

    def work(self, task: FewShotTask) -> int:
        """Epochs of all alphas."""
        return self.training_of(task).epochs * len(self.alphas)

    def most_together(self, task: FewShotTask) -> int:
        """How many tasks' residuals fit into memory together."""
        return models_in_memory(task.class_prototypes.size * len(self.alphas))

    def fit_together(
        self, tasks: list[FewShotTask], *, device: str, report: Report
    ) -> list[Fitted]:
        """Train the residuals of all tasks at all alphas, then choose an alpha for each task."""
        from clip_adapter.methods.fitting.task_res import fit_together

        return fit_together(
            tasks,
            alphas=self.alphas,
            views=self.views,
            training=self.training_of(tasks[0]),
            device=device,
            report=report,
        )
