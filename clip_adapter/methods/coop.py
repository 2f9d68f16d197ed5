"""CoOp: prompts learned by gradient descent through the frozen text tower."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from clip_adapter.errors import DataError, SettingsError
from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial, stop_epochs
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.task import FewShotTask, TextTower
from clip_adapter.training import COOP_TRAINER, Recipe, Training, TrainingSettings

ClassPosition = Literal["end", "middle"]

# Found on validation images of digits and EuroSAT; docs/notebook.md has the figures. A step costs the
# same for any batch of images: so batches are large, and steps few.
FAST = Recipe(
    optimizer="adamw",
    learning_rate=1e-2,
    weight_decay=10.0,
    epochs=((1, 10), (2, 15), (4, 20), (8, 60), (16, 90)),
    batch_size=160,
)
FAST_FEW = replace(FAST, learning_rate=5e-3)
MOST_OF_FEW = 4
PROMPTS_AT_ONCE = 256
"""Prompts of all models in one step; more only use memory."""


@dataclass(frozen=True, kw_only=True)
class CoOp(GridMethod):
    """Learned context tokens before (or around) the class name.

    `w_c = text_tower([V]1 ... [V]M, CLASS_c, .)`, trained by cross-entropy of
    `logit_scale * cos(f, w_c)` on cached image features (Zhou et al. 2022,
    https://arxiv.org/abs/2109.01134, section 3.2). The length of the training is chosen. The fitted
    classifier holds class prototypes and does not need the tower.

    Attributes:
        n_context: context tokens M; ignored where `context_init` is set.
        class_position: position of the class name, at the end or in the middle.
        class_specific: whether each class has a context (CSC), instead of one for all classes.
        context_init: words whose embeddings initialise the context; noise of deviation 0.02 if empty.
        views: augmented views of each training image, one drawn an epoch; 0 for the image itself.
        training: optimiser, schedule, length.

    Raises:
        SettingsError: a number is outside its range.
    """

    name: ClassVar[str] = "coop"
    needs_text_tower: ClassVar[bool] = True

    n_context: int = 16
    class_position: ClassPosition = "end"
    class_specific: bool = False
    context_init: str = ""
    views: int = 0
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def __post_init__(self) -> None:
        for name, smallest in (("n_context", 1), ("views", 0)):
            if getattr(self, name) < smallest:
                message = f"{name} is {getattr(self, name)}; expected {smallest} or more"
                raise SettingsError(message)
        if self.context_init and not self.context_init.strip():
            message = "context_init holds no word: leave it empty to start from noise"
            raise SettingsError(message)

    def training_of(self, task: FewShotTask) -> Training:
        """The training of the context of a task."""
        fast = FAST_FEW if task.shots <= MOST_OF_FEW else FAST
        return self.training.resolve({"paper": COOP_TRAINER, "fast": fast}, shots=task.shots)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """Lengths."""
        return {"length": self.training_of(task).distinct_lengths}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """The whole training."""
        return {"length": 1.0}

    def work(self, trial: Trial) -> int:
        """Epochs."""
        return stop_epochs([trial], self.training_of(trial.task))[-1]

    def most_together(self, trial: Trial) -> int:
        """How many tasks' prompts the tower encodes in one step."""
        return PROMPTS_AT_ONCE // len(trial.task.class_names)

    def kind(self, task: FewShotTask) -> Hashable:
        """Equal for tasks of one shape with the same classes and text tower."""
        return super().kind(task), task.class_names, id(task.text_tower)

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # trains where the text tower is
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Learn the contexts of all tasks, which share the batches of the tower.

        Raises:
            DataError: a task has no text tower, or a prompt is too long for it.
        """
        from clip_adapter.methods.fitting.coop import Contexts, fit_together, initial_contexts

        tasks = [trial.task for trial in trials]
        tower = _tower(tasks[0])
        contexts = initial_contexts(
            tasks,
            tower,
            n_context=self.n_context,
            class_specific=self.class_specific,
            words=self.context_init,
        )
        n_context = contexts.shape[2]
        prompts = Contexts.around(
            tasks[0].class_names, tower, n_context=n_context, class_position=self.class_position
        )
        training = self.training_of(tasks[0])
        used = self._settings(n_context)
        for fitted in fit_together(
            trials, contexts, prompts, training, views=self.views, report=report
        ):
            yield [replace(one, settings={**used, **one.settings}) for one in fitted]

    def _settings(self, n_context: int) -> dict[str, float | int | str | bool]:
        return {
            "n_context": n_context,
            "class_position": self.class_position,
            "class_specific": self.class_specific,
            "context_init": self.context_init,
            "views": self.views,
        }


def _tower(task: FewShotTask) -> TextTower:
    if task.text_tower is None:
        message = (
            "coop learns prompts through a text tower, and this task has none, as it is with "
            "features that were imported: train on images, or leave coop out"
        )
        raise DataError(message)
    return task.text_tower
