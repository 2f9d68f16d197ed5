"""Cross-modal linear probe: prompts are training samples of their class, like images."""

import math
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

from clip_adapter.methods.method import Fitted, Report, StackedMethod, models_in_memory
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import Recipe, Training, TrainingSettings

RECIPES = {
    # Lin et al. 2023, appendix: AdamW along a cosine, in batches of 8, half of them texts.
    "paper": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),  # as many as make up STEPS
        batch_size=4,
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),
        batch_size=32,
    ),
}
STEPS = {"paper": 12800, "fast": 1280}
"""Steps of a training whose epochs are not set; the paper counts steps."""


@dataclass(frozen=True, kw_only=True)
class CrossModalProbe(StackedMethod):
    """A linear head on image and text features alike, which starts as zero-shot.

    `logit_scale * f . w_c` with f of length 1, w from the class prototypes on, trained by
    cross-entropy of batches of which half are images, half prompts (Lin et al. 2023,
    https://arxiv.org/abs/2301.06267, section 3). Each image of a batch comes with a prompt of its
    class, drawn anew; the paper draws prompts and images apart.

    Attributes:
        learning_rates: candidates for the learning rate; one set of the training replaces them.
        weight_decays: candidates for the weight decay; one set of the training replaces them.
            Validation chooses a pair.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length; batch_size counts images, which are half of
            the samples of a step.

    Raises:
        SettingsError: a grid is empty or a number out of range.
    """

    name: ClassVar[str] = "cross-modal-probe"

    learning_rates: tuple[float, ...] = (1e-3, 1e-4)
    weight_decays: tuple[float, ...] = (1e-2,)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("learning_rates", self.learning_rates, at_least=1e-15)
        check_grid("weight_decays", self.weight_decays, at_least=0.0)
        check_count("views", self.views)

    @property
    def grid(self) -> list[tuple[float, float]]:
        """All pairs of a learning rate and a weight decay."""
        rate, decay = self.training.learning_rate, self.training.weight_decay
        rates = self.learning_rates if rate is None else (rate,)
        decays = self.weight_decays if decay is None else (decay,)
        return list(product(rates, decays))

    @property
    def n_candidates(self) -> int:
        """Number of pairs of a learning rate and a weight decay."""
        return len(self.grid)

    def trainings(self, task: FewShotTask) -> list[Training]:
        """The trainings of a task, one a point of the grid."""
        resolved = self.training.resolve(RECIPES, shots=task.shots)
        if self.training.epochs is None:
            steps = math.ceil(len(task.train_labels) / resolved.batch_size)
            resolved = replace(resolved, epochs=math.ceil(STEPS[resolved.recipe] / steps))
        return [
            replace(resolved, learning_rate=rate, weight_decay=decay) for rate, decay in self.grid
        ]

    def work(self, task: FewShotTask) -> int:
        """Epochs of all pairs."""
        return sum(training.epochs for training in self.trainings(task))

    def most_together(self, task: FewShotTask) -> int:
        """How many tasks' heads fit into memory together."""
        return models_in_memory(task.class_prototypes.size)

    def fit_together(
        self, tasks: list[FewShotTask], *, device: str, report: Report
    ) -> list[Fitted]:
        """Train a head for each task and pair, then choose a pair for each task."""
        from clip_adapter.methods.fitting.cross_modal import fit_together

        trainings = self.trainings(tasks[0])
        return fit_together(tasks, trainings, views=self.views, device=device, report=report)
