"""Cross-modal linear probe: prompts are training samples of their class, like images."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    # Lin et al. 2023, appendix: AdamW along a cosine, in batches of 8, half of them texts.
    "paper": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),  # as many as make up STEPS
        batch_size=4,
        lengths=(0.0, 0.01, 0.03, 0.1, 0.3, 1.0),
    ),
    "fast": Recipe(
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-2,
        epochs=((16, 1),),
        batch_size=32,
        lengths=(0.0, 0.1, 0.25, 0.5, 1.0),
    ),
}
STEPS = {"paper": 12800, "fast": 200}
"""Steps of a training whose epochs are not set; the paper counts steps."""
DEFAULT_LEARNING_RATES = ((2, 3e-4), (16, 1e-3))


@dataclass(frozen=True, kw_only=True)
class CrossModalProbe(GridMethod):
    """A linear head on image and text features alike, which starts as zero-shot.

    `logit_scale * f . w_c` with f of length 1, w from the class prototypes on, trained by
    cross-entropy of batches of which half are images, half prompts (Lin et al. 2023,
    https://arxiv.org/abs/2301.06267, section 3). Each image of a batch comes with a prompt of its
    class, drawn anew; the paper draws prompts and images apart.

    Attributes:
        learning_rates: candidates for the learning rate; one set of the training replaces them.
        weight_decays: candidates for the weight decay; one set of the training replaces them.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length; batch_size counts images, which are half of
            the samples of a step.

    Raises:
        SettingsError: a grid is empty or a number out of range.
    """

    name: ClassVar[str] = "cross-modal-probe"

    learning_rates: tuple[float, ...] = (1e-3, 3e-4, 1e-4)
    weight_decays: tuple[float, ...] = (1e-2,)
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("learning_rates", self.learning_rates, at_least=1e-15)
        check_grid("weight_decays", self.weight_decays, at_least=0.0)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Learning rates, weight decays and lengths."""
        rate, decay = self.training.learning_rate, self.training.weight_decay
        return {
            "learning_rate": self.learning_rates if rate is None else (rate,),
            "weight_decay": self.weight_decays if decay is None else (decay,),
            "length": self.training_of(task).distinct_lengths,
        }

    def defaults(self, task: FewShotTask) -> Point:
        """A learning rate that grows with the shots, and the whole training."""
        rate = value_at(task.shots, DEFAULT_LEARNING_RATES)
        return {"learning_rate": rate, "weight_decay": 1e-2, "length": 1.0}

    def training_of(self, task: FewShotTask) -> Training:
        """The training of a task, whose learning rate and weight decay a point determines."""
        resolved = self.training.resolve(RECIPES, shots=task.shots)
        if self.training.epochs is not None:
            return resolved
        steps = math.ceil(len(task.train_labels) / resolved.batch_size)
        return replace(resolved, epochs=math.ceil(STEPS[resolved.recipe] / steps))

    def work(self, trial: Trial) -> int:
        """Epochs of all pairs of a learning rate and a weight decay."""
        last = stop_epochs([trial], self.training_of(trial.task))[-1]
        return last * len(trial.distinct("learning_rate", "weight_decay"))

    def most_together(self, trial: Trial) -> int:
        """How many tasks' images, prompts and heads fit into memory together, at all points."""
        heads = trial.task.class_prototypes.size * (TRAINED + len(trial.points))
        return models_in_memory(floats_of(trial.task, views=self.views) + heads)

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Train a head for each task and pair of a learning rate and a weight decay."""
        from clip_adapter.methods.fitting.cross_modal import fit_together

        training = self.training_of(trials[0].task)
        return fit_together(trials, training, views=self.views, device=device, report=report)
