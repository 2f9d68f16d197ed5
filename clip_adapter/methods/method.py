"""The base classes of few-shot methods, and what a method returns."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.methods.task import FewShotTask, require_validation

SelectedOn = Literal["nothing", "validation", "held-out shots", "training"]
"""The data of model selection: "training" where a hyper-parameter is learned like a weight,
"held-out shots" where training images were left out for the purpose."""
Progress = Callable[[float], None]
"""Called with the fraction of the whole `fit` that was done since the last call."""


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


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """Logits of training images by classifiers that were fitted without them.

    Attributes:
        logits: one row an image, one column a class.
        labels: class numbers of the images.
        rows: for each fold, the rows of its images among the training images; the images are in the order
            of the folds. Empty where the images are not among the training images.
    """

    logits: Float[np.ndarray, "m c"]
    labels: Int[np.ndarray, " m"]
    rows: "Sequence[Int[np.ndarray, ' _']]" = ()

    @classmethod
    def of(cls, classifier: Classifier, fold: FewShotTask) -> "HeldOut":
        """The logits of the images that a fold leaves out."""
        return cls(logits=classifier.logits(fold.val_features), labels=fold.val_labels)

    @classmethod
    def joined(
        cls, parts: "Sequence[HeldOut]", rows: "Sequence[Int[np.ndarray, ' _']]"
    ) -> "HeldOut":
        """The images of all folds, fold by fold, with their rows among the training images."""
        return cls(
            logits=np.concatenate([part.logits for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            rows=tuple(rows),
        )


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
        held_out: logits of the training images that were left out to choose among the candidates, with
            the chosen settings; None where none were.
        explanation: a sentence for the user that says what was taken and why; empty where the settings
            say it.
        nested: accuracy and NLL of the choice itself on the images of model selection, each scored by settings,
            and weights of a blend, that others of them chose, see `nested_score`; of a blend that validation
            images choose, on these alone. None where there was no choice, or a single image for it.
    """

    classifier: Classifier
    settings: Mapping[str, Any] = field(default_factory=dict)
    selected_on: SelectedOn = "nothing"
    candidates: tuple[Candidate, ...] = ()
    loss_curve: tuple[float, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    held_out: HeldOut | None = field(default=None, repr=False, compare=False)
    explanation: str = ""
    nested: Candidate | None = None


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
        """Number of candidates among which validation images choose."""
        return 1

    def needs_validation(self, task: FewShotTask) -> bool:  # noqa: ARG002  # of a method whose grid depends on it
        """Whether validation images choose among several candidates for the task."""
        return self.n_candidates > 1

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
            DataError: a task lacks what the method needs: as many views as are set, or a text tower.
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
