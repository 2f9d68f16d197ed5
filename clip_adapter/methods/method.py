"""The one protocol that every few-shot method follows."""

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.classifiers import Classifier
from clip_adapter.methods.task import FewShotTask, require_validation

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
    """A classifier and how it was chosen.

    Attributes:
        classifier: the fitted classifier.
        settings: hyper-parameters that were chosen or that follow from a recipe, by name; what else
            was set of the method is recorded anyway.
        selected_on: the data that chose among the candidates.
        candidates: everything that was tried.
        loss_curve: mean training loss in each epoch, empty where there are none.
        seconds: this task's share of the fitting time.
    """

    classifier: Classifier
    settings: Mapping[str, float | int | str | bool] = field(default_factory=dict)
    selected_on: SelectedOn = "nothing"
    candidates: tuple[Candidate, ...] = ()
    loss_curve: tuple[float, ...] = field(default=(), repr=False)
    seconds: float = 0.0


@runtime_checkable
class Method(Protocol):
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
            device: where to train, in torch's spelling; the classifiers end up on the CPU.
            progress: called with the fraction of the work that was just done.

        Raises:
            TaskError: a task lacks what the method needs: a validation image where something is
                to be chosen, as many views as are set, or a text tower.
            DivergedError: a loss or weight of a training is not a finite number.
        """
        ...


class PerTaskMethod(Method):
    """A method that fits one task after the other, on the CPU."""

    @property
    def n_candidates(self) -> int:
        """Number of points of the grid among which validation images choose."""
        return 1

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
