"""TaskRes: a learned residual of each class prototype."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from clip_adapter.methods.grid_method import (
    TRAINED,
    GridMethod,
    Point,
    Report,
    Trial,
    floats_of,
    models_in_memory,
    stop_epochs,
)
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Recipe, Training, TrainingSettings
from clip_adapter.training.settings import value_at

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

DEFAULT_ALPHAS = ((1, 0.02), (8, 0.05), (16, 0.1))


@dataclass(frozen=True, kw_only=True)
class TaskRes(GridMethod):
    """A residual of each class prototype, learned from zero.

    `w'_c = w_c + alpha * x_c`, trained by cross-entropy of `logit_scale * cos(f, w'_c)` (Yu et
    al. 2023, https://arxiv.org/abs/2211.10277, section 3.2). Here w has length 1.
    The authors' w has the length s of the encoder's text feature, and learns with alpha what a w of
    length 1 learns with alpha / s: CLIP's text features have lengths of about 10, so that 0.05 is
    nearest their 0.5.

    Attributes:
        alphas: candidates for alpha, all trained together.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: the grid is empty or a number below 0.
    """

    name: ClassVar[str] = "task-res"

    alphas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.2, 0.5)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Alphas and lengths."""
        return {"alpha": self.alphas, "length": self.training_of(task).distinct_lengths}

    def defaults(self, task: FewShotTask) -> Point:
        """An alpha that grows with the shots, and the whole training."""
        return {"alpha": value_at(task.shots, DEFAULT_ALPHAS), "length": 1.0}

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the residuals of a task."""
        return self.training.resolve(RECIPES, shots=task.shots)

    def work(self, trial: Trial) -> int:
        """Epochs of all alphas."""
        last = stop_epochs([trial], self.training_of(trial.task))[-1]
        return last * len(trial.distinct("alpha"))

    def most_together(self, trial: Trial) -> int:
        """How many tasks' images and residuals fit into memory together, at all alphas and lengths."""
        n_trained = TRAINED * len(trial.distinct("alpha"))
        residuals = trial.task.class_prototypes.size * (n_trained + len(trial.points))
        return models_in_memory(floats_of(trial.task, views=self.views) + residuals)

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Train the residuals of all tasks at all alphas together."""
        from clip_adapter.methods.fitting.task_res import fit_together

        training = self.training_of(trials[0].task)
        return fit_together(
            trials, training=training, views=self.views, device=device, report=report
        )
