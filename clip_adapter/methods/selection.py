"""One of several classifiers, by the validation images alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clip_adapter.methods.classifiers import Classifier
from clip_adapter.methods.method import Candidate, SelectedOn, best_candidate, judge
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training import SettingsError
from clip_adapter.training.settings import LARGEST_COUNT


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which classifier is kept, and why.

    Attributes:
        number: of the classifier.
        selected_on: nothing where there was but one.
        candidates: how each did on validation; empty where there was but one.
    """

    number: int
    selected_on: SelectedOn
    candidates: tuple[Candidate, ...]

    @classmethod
    def among(cls, candidates: Iterable[Candidate]) -> "Choice":
        """The best of these candidates."""
        tried = tuple(candidates)
        return cls(number=best_candidate(tried), selected_on="validation", candidates=tried)


ONLY = Choice(number=0, selected_on="nothing", candidates=())
"""Of a grid of a single point."""


def choose(
    classifiers: Sequence[Classifier],
    task: FewShotTask,
    settings: Sequence[Mapping[str, float]],
) -> Choice:
    """The classifier that does best on the task's validation images; a single one unseen.

    Args:
        classifiers: one a point of the grid.
        task: whose validation images judge.
        settings: hyper-parameters that make each classifier.
    """
    if len(classifiers) == 1:
        return ONLY
    return Choice.among(
        judge(classifier, task, **values)
        for classifier, values in zip(classifiers, settings, strict=True)
    )


def check_grid(name: str, values: Sequence[float], *, at_least: float) -> None:
    """Return if a grid of hyper-parameters has a value, and each is in range.

    Raises:
        SettingsError: if it is empty, or holds a value below the least, NaN or infinity.
    """
    if not values or not all(at_least <= value < float("inf") for value in values):
        message = f"{name} is {tuple(values)}; expected one or more numbers from {at_least:g} up"
        raise SettingsError(message)


def check_count(name: str, value: int, *, at_least: int = 0) -> None:
    """Return if a whole number is neither too small nor too large; raises `SettingsError` if so."""
    if not at_least <= value <= LARGEST_COUNT:
        message = f"{name} is {value}; expected {at_least} or more, at most {LARGEST_COUNT:,}"
        raise SettingsError(message)
