"""The base classes of few-shot methods, and what a method returns."""

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.task import FewShotTask, require_validation

SelectedOn = Literal["nothing", "validation", "held-out shots", "training"]
"""The data of model selection: "training" where a hyper-parameter is learned like a weight,
"held-out shots" where training images were left out for the purpose."""
Progress = Callable[[float], None]
"""Called with the fraction of the whole `fit` that was done since the last call."""
Report = Callable[[int], None]
"""Called with the units of work that were done since the last call."""


@runtime_checkable
class Classifier(Protocol):
    """Maps raw features of an encoder to logits of named classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each column of the logits."""
        ...

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        ...

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features, one row an image, one column a class of the task.

        Raises:
            DataError: the features have another width.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point of a grid of hyper-parameters, and its scores on the images of model selection.

    Attributes:
        settings: hyper-parameters of the point, by their names in `Fitted.settings`.
        validation_accuracy: accuracy on the images of model selection, a fraction.
        validation_nll: negative log-likelihood on the images of model selection, in nats.
    """

    settings: Mapping[str, float]
    validation_accuracy: float
    validation_nll: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier and how it was chosen.

    Attributes:
        classifier: the fitted classifier.
        settings: hyper-parameters that were chosen or that follow from a recipe, by name; what else
            was set of the method is recorded anyway. Values that JSON can write.
        selected_on: the data that chose among the candidates.
        candidates: every point that was tried.
        loss_curve: mean training loss in each epoch; empty where there are no epochs.
        seconds: the task's share of the fitting time.
    """

    classifier: Classifier
    settings: Mapping[str, Any] = field(default_factory=dict)
    selected_on: SelectedOn = "nothing"
    candidates: tuple[Candidate, ...] = ()
    loss_curve: tuple[float, ...] = field(default=(), repr=False)
    seconds: float = 0.0


class Method(ABC):
    """A few-shot method: a frozen dataclass whose fields are its settings.

    A method that can train on augmented views has a setting `views`, their number. A field
    `training: TrainingSettings` gives it the settings of a training by gradient descent.

    Attributes:
        name: name in requests and in the run store.
        learns: False when training images, shots and seeds make no difference.
        needs_text_tower: whether its tasks must have a text tower.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = True
    needs_text_tower: ClassVar[bool] = False

    @property
    def n_candidates(self) -> int:
        """Number of points of the grid among which validation images choose."""
        return 1

    @abstractmethod
    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task; the tasks share classes, prompts and width.

        Args:
            tasks: arrays to fit to.
            device: torch device that trains, such as "cuda:0"; the classifiers end up on the CPU.
            progress: called with the fraction of the work that was just done.

        Raises:
            DataError: a task lacks what the method needs: a validation image where something is
                to be chosen, as many views as are set, or a text tower.
            SettingsError: a loss or weight of a training is not a finite number.
        """


class PerTaskMethod(Method):
    """A method that fits one task after the other, on the CPU."""

    @abstractmethod
    def fit_task(self, task: FewShotTask) -> Fitted:
        """Fit a classifier to one task."""

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",  # noqa: ARG002  # computes on the CPU
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task, see `Method.fit`."""
        if self.n_candidates > 1:
            require_validation(tasks)
        fitted = []
        for task in tasks:
            start = time.perf_counter()
            found = self.fit_task(task)
            fitted.append(replace(found, seconds=time.perf_counter() - start))
            if progress is not None:
                progress(1 / len(tasks))
        return fitted


class StackedMethod(Method):
    """A method that fits tasks of one shape together, in one tensor program."""

    @abstractmethod
    def fit_together(
        self, tasks: list[FewShotTask], *, device: str, report: Report
    ) -> list[Fitted]:
        """Fit a classifier to each of some tasks of one kind.

        Args:
            tasks: tasks with equal `kind`, at most `most_together` of them.
            device: torch device that trains, such as "cuda:0".
            report: called with the units of `work` that were just done.
        """

    @abstractmethod
    def work(self, task: FewShotTask) -> int:
        """Units of work that a task takes, as `fit_together` reports them."""

    @abstractmethod
    def most_together(self, task: FewShotTask) -> int:
        """How many tasks like this one fit into memory together."""

    def kind(self, task: FewShotTask) -> Hashable:
        """Equal for tasks whose arrays can be stacked and whose logits are scaled alike."""
        return task.shots, task.train_features.shape, task.prompt_features.shape, task.logit_scale

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task, those of one kind together, see `Method.fit`."""
        if self.n_candidates > 1:
            require_validation(tasks)
        total = sum(self.work(task) for task in tasks)

        def report(units: int) -> None:
            if progress is not None:
                progress(units / total)

        fitted: dict[int, Fitted] = {}
        for numbers in self._groups(tasks):
            start = time.perf_counter()
            some = [tasks[number] for number in numbers]
            found = self.fit_together(some, device=device, report=report)
            seconds = (time.perf_counter() - start) / len(some)
            fitted |= {
                number: replace(one, seconds=seconds)
                for number, one in zip(numbers, found, strict=True)
            }
        return [fitted[number] for number in range(len(tasks))]

    def _groups(self, tasks: Sequence[FewShotTask]) -> list[list[int]]:
        """Numbers of tasks that are fitted together."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, task in enumerate(tasks):
            groups[self.kind(task)].append(number)
        return [
            numbers[first : first + size]
            for numbers in groups.values()
            for size in [max(1, self.most_together(tasks[numbers[0]]))]
            for first in range(0, len(numbers), size)
        ]


def models_in_memory(n_weights: int) -> int:
    """How many models with some number of weights fit into memory together."""
    return FLOATS_IN_MEMORY // n_weights


FLOATS_IN_MEMORY = 2**27
"""Weights of all models that train together, 512 MB; a single task may have more."""
