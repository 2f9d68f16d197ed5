"""CLAP: a linear probe that starts at the text and is held near it, class by class."""

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

TEXT_LENGTH = 10.0
"""About the length of a text feature of CLIP, which the authors do not scale to 1."""
RECIPES = {
    # The authors' configuration SGD_lr1e-1_B256_ep300, with the momentum of their trainer library.
    "paper": Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=0.0,
        momentum=0.9,
        epochs=((16, 300),),
        batch_size=256,
        warmup_epochs=1,
        schedule="epochs",
        lengths=(1.0,),
    ),
    "fast": Recipe(
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=0.0,
        momentum=0.9,
        epochs=((16, 60),),
        batch_size=256,
        lengths=(1.0,),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Clap(GridMethod):
    """Prototypes that are learned from the text on, with a penalty on their distance from it.

    `logit_scale * cos(f, v_c)`, trained from `v = w` by cross-entropy plus the mean over the classes of
    `l_c |v_c - w_c|^2`, where the multiplier l_c is the mean probability that zero-shot gives the class's own
    images (Silva-Rodriguez et al. 2024, https://arxiv.org/abs/2312.12730, section 4). Nothing is
    chosen: training and multipliers are the same for all datasets. Here the text features w
    have the length `text_length`: those of an encoder are often lost, and the authors' are not scaled.

    Attributes:
        text_length: length of the text features, in which the learning rate and the penalty are measured.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: the length is not above 0.
    """

    name: ClassVar[str] = "clap"

    text_length: float = TEXT_LENGTH
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        check_grid("text_length", (self.text_length,), at_least=1e-3)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Lengths, one unless others are set."""
        return {"length": self.training_of(task).distinct_lengths}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """The whole training."""
        return {"length": 1.0}

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the prototypes of a task."""
        return self.training.resolve(RECIPES, shots=task.shots)

    def work(self, trial: Trial) -> int:
        """Epochs."""
        return stop_epochs([trial], self.training_of(trial.task))[-1]

    def most_together(self, trial: Trial) -> int:
        """How many tasks' images and prototypes fit into memory together, at all lengths."""
        prototypes = trial.task.class_prototypes.size * (TRAINED + len(trial.points))
        return models_in_memory(floats_of(trial.task, views=self.views) + prototypes)

    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Train the prototypes of all tasks together."""
        from clip_adapter.methods.fitting.clap import fit_together

        return fit_together(
            trials,
            training=self.training_of(trials[0].task),
            text_length=self.text_length,
            views=self.views,
            device=device,
            report=report,
        )
