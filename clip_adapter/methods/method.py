"""The one protocol that every few-shot method follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import evaluate

__all__ = [
    "Candidate",
    "Classifier",
    "Fitted",
    "Method",
    "Progress",
    "SelectedOn",
    "best_candidate",
    "judge",
]

SelectedOn = Literal["nothing", "validation"]
Progress = Callable[[float], None]
"""Called with the fraction of the whole `fit` that was done since the last call."""


@runtime_checkable
class Classifier(Protocol):
    """Gives logits for any raw features of its encoder."""

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """One row an image, one column a class of the task it was fitted to."""
        ...


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One value of a hyper-parameter and how it did on the validation images."""

    name: str
    value: float
    validation_accuracy: float
    validation_nll: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A classifier and the whole story of how it was chosen.

    Attributes:
        classifier: ready to use.
        settings: every hyper-parameter as finally used, by its field name.
        selected_on: the data that chose among the candidates.
        candidates: everything that was tried.
        loss_curve: mean training loss in each epoch, empty where there are none.
        seconds: this task's share of the fitting time.
    """

    classifier: Classifier
    settings: Mapping[str, float | int | str | bool]
    selected_on: SelectedOn = "nothing"
    candidates: tuple[Candidate, ...] = ()
    loss_curve: tuple[float, ...] = field(default=(), repr=False)
    seconds: float = 0.0


@runtime_checkable
class Method(Protocol):
    """A few-shot method; its dataclass fields are its settings.

    Attributes:
        name: as it is asked for and recorded.
        learns: False when training images, shots and seeds make no difference.
    """

    name: ClassVar[str]
    learns: ClassVar[bool]

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task; the tasks share classes, prototypes and width.

        Args:
            tasks: what to fit to.
            device: where to train, in torch's spelling; the classifiers end up on the CPU.
            progress: told how far it has come.
        """
        ...


def judge(classifier: Classifier, task: FewShotTask, *, name: str, value: float) -> Candidate:
    """How a classifier, made with that value of a hyper-parameter, does on validation."""
    judged = evaluate(classifier.logits(task.val_features), task.val_labels)
    return Candidate(
        name=name,
        value=value,
        validation_accuracy=judged["accuracy"],
        validation_nll=judged["nll"],
    )


def best_candidate(candidates: Sequence[Candidate]) -> int:
    """The number of the candidate with the best validation accuracy.

    A handful of validation images ties often: the lower negative log-likelihood decides, then
    the earlier candidate.
    """
    ranks = [
        (-candidate.validation_accuracy, candidate.validation_nll, number)
        for number, candidate in enumerate(candidates)
    ]
    return min(ranks)[2]
