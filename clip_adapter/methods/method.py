"""The one protocol that every few-shot method follows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.classifiers import Classifier
from clip_adapter.methods.task import FewShotTask

SelectedOn = Literal["nothing", "validation", "held-out shots", "training"]
"""What data chose: "training" where a hyper-parameter is learned like a weight, "held-out shots"
where training images that were left out for the purpose chose it."""
Progress = Callable[[float], None]
"""Called with the fraction of the whole `fit` that was done since the last call."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One point of a grid of hyper-parameters and how it did on the images that choose.

    Attributes:
        settings: the hyper-parameters that were tried, by their names in `Fitted.settings`.
        validation_accuracy: a fraction.
        validation_nll: in nats.
    """

    settings: Mapping[str, float]
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

    A method that can train on augmented views has a setting `views`, their number.

    Attributes:
        name: as it is asked for and recorded.
        learns: False when training images, shots and seeds make no difference.
        needs_text_tower: whether its tasks must have one.
    """

    name: ClassVar[str]
    learns: ClassVar[bool]
    needs_text_tower: ClassVar[bool]

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task; the tasks share classes, prompts and width.

        Args:
            tasks: what to fit to.
            device: where to train, in torch's spelling; the classifiers end up on the CPU.
            progress: told how far it has come.
        """
        ...


def judge(classifier: Classifier, task: FewShotTask, **settings: float) -> Candidate:
    """How a classifier, made with those hyper-parameters, does on validation."""
    return judge_logits(classifier.logits(task.val_features), task, **settings)


def judge_logits(
    scores: Float[np.ndarray, "m c"], task: FewShotTask, **settings: float
) -> Candidate:
    """The same, given the classifier's logits of the validation images."""
    from clip_adapter.training import evaluate

    judged = evaluate(scores, task.val_labels)
    return Candidate(
        settings=settings,
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
