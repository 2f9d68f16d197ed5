"""Selection of hyper-parameters on validation images, and checks of their grids."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import SettingsError
from clip_adapter.methods.method import Candidate, Classifier, SelectedOn
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import LARGEST_COUNT


def validate(classifier: Classifier, task: FewShotTask, **settings: float) -> Candidate:
    """Evaluate a classifier, made with those hyper-parameters, on the task's validation images."""
    return validate_logits(classifier.logits(task.val_features), task, **settings)


def validate_logits(
    scores: Float[np.ndarray, "m c"], task: FewShotTask, **settings: float
) -> Candidate:
    """Evaluate a classifier's logits of the task's validation images."""
    from clip_adapter.training import evaluate

    metrics = evaluate(scores, task.val_labels)
    return Candidate(
        settings=settings,
        validation_accuracy=metrics["accuracy"],
        validation_nll=metrics["nll"],
    )


def best_candidate(candidates: Sequence[Candidate]) -> int:
    """The number of the candidate with the best validation accuracy.

    Candidates often tie on a few validation images: then the lower negative log-likelihood decides,
    then the order.
    """
    ranks = [
        (-candidate.validation_accuracy, candidate.validation_nll, number)
        for number, candidate in enumerate(candidates)
    ]
    return min(ranks)[2]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen point of a grid.

    Attributes:
        number: number of the point in the grid.
        selected_on: the data that chose; "nothing" for a grid of a single point.
        candidates: results of all points on validation; empty for a grid of a single point.
    """

    number: int
    selected_on: SelectedOn
    candidates: tuple[Candidate, ...]

    @classmethod
    def among(cls, candidates: Iterable[Candidate]) -> "Choice":
        """The best of some candidates."""
        tried = tuple(candidates)
        return cls(number=best_candidate(tried), selected_on="validation", candidates=tried)


ONLY = Choice(number=0, selected_on="nothing", candidates=())
"""The choice in a grid of a single point."""


def choose(
    classifiers: Sequence[Classifier],
    task: FewShotTask,
    settings: Sequence[Mapping[str, float]],
) -> Choice:
    """The classifier that is best on the task's validation images; a single one is not evaluated.

    Args:
        classifiers: one a point of the grid.
        task: the task with the validation images.
        settings: hyper-parameters of each classifier.
    """
    if len(classifiers) == 1:
        return ONLY
    return Choice.among(
        validate(classifier, task, **values)
        for classifier, values in zip(classifiers, settings, strict=True)
    )


def check_grid(name: str, values: Sequence[float], *, at_least: float) -> None:
    """Return if a grid of hyper-parameters has a value, and all values are in range.

    Raises:
        SettingsError: it is empty, or holds a value below the least, NaN or infinity.
    """
    if not values or not all(at_least <= value < float("inf") for value in values):
        message = f"{name} is {tuple(values)}; expected one or more numbers from {at_least:g} up"
        raise SettingsError(message)


def check_count(name: str, value: int, *, at_least: int = 0) -> None:
    """Return if a whole number is neither too small nor too large; else raise `SettingsError`."""
    if not at_least <= value <= LARGEST_COUNT:
        message = f"{name} is {value}; expected {at_least} or more, at most {LARGEST_COUNT:,}"
        raise SettingsError(message)
