"""Choice of residual ratios from a grid, on validation images or on held-out shots."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from clip_adapter.errors import DataError
from clip_adapter.methods.fitting.clip_adapter import AdapterCandidate, AdapterTrainer
from clip_adapter.methods.method import Candidate, Fitted
from clip_adapter.methods.selection import best_candidate, validate
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.shots import shots_in_words

Grid = Sequence[AdapterCandidate]
"""The candidates of one task, one a point."""
MAX_FOLDS = 4
"""Four folds leave four images of each class out, as many as the usual validation set has."""


def choose_on_validation(grids: Sequence[Grid], trainer: AdapterTrainer) -> list[Fitted]:
    """Train every point and keep the best on the task's validation images.

    Raises:
        DataError: a task has none.
    """
    require_validation(grid[0].task for grid in grids)
    searches = _search(grids, trainer, share=1.0)
    return [
        replace(search.best, candidates=search.candidates, seconds=search.seconds)
        for search in searches
    ]


def choose_on_held_out_shots(grids: Sequence[Grid], trainer: AdapterTrainer) -> list[Fitted]:
    """Train every point in each fold, then train the best on held-out shots on all shots.

    Raises:
        DataError: a class of a task has a single training image.
    """
    fold_grids = [_in_folds(grid) for grid in grids]
    share = _share_of_folds(grids, fold_grids)
    each = iter(_search([grid for folds in fold_grids for grid in folds], trainer, share=share))
    searches = [[next(each) for _ in folds] for folds in fold_grids]
    merged = [merge_folds([one.candidates for one in of_task]) for of_task in searches]
    chosen = [
        grid[best_candidate(candidates)] for grid, candidates in zip(grids, merged, strict=True)
    ]
    final = trainer.fit(chosen, share=1.0 - share)
    return [
        replace(
            fitted,
            candidates=candidates,
            seconds=fitted.seconds + sum(search.seconds for search in of_task),
        )
        for fitted, candidates, of_task in zip(final, merged, searches, strict=True)
    ]


class GridSearch:
    """Validates models in any order, and keeps only the best.

    Args:
        task: the task with the validation images.

    Attributes:
        seconds: training time of all models.
    """

    def __init__(self, task: FewShotTask) -> None:
        self.seconds = 0.0
        self._task = task
        self._tried: dict[int, Candidate] = {}
        self._best: list[Fitted] = []

    def add(self, number: int, fitted: Fitted, point: Mapping[str, float]) -> None:
        """Validate the model that was trained at a point of the grid, given with its number."""
        self._tried[number] = validate(fitted.classifier, self._task, **point)
        self.seconds += fitted.seconds
        if sorted(self._tried)[best_candidate(self.candidates)] == number:
            self._best = [fitted]

    @property
    def best(self) -> Fitted:
        """The best model that was added; there must be one."""
        return self._best[0]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Results of all models that were added, in the order of the grid."""
        return tuple(self._tried[number] for number in sorted(self._tried))


def _search(grids: Sequence[Grid], trainer: AdapterTrainer, *, share: float) -> list[GridSearch]:
    """Train all candidates together, and validate each on the images of its task."""
    searches = [GridSearch(grid[0].task) for grid in grids]
    places = [
        (search, number)
        for search, grid in zip(searches, grids, strict=True)
        for number in range(len(grid))
    ]
    candidates = [candidate for grid in grids for candidate in grid]
    for number, fitted in trainer.train(candidates, share=share):
        search, point = places[number]
        search.add(point, fitted, candidates[number].ratios)
    return searches


def folds(task: FewShotTask) -> list[FewShotTask]:
    """The task with one shot of each class moved to validation, for each of up to four shots.

    Fold r leaves the r-th training image of every class out, and there are as many folds as the
    smallest class has images, at most four. The task's own validation images are not used. Shots
    and seed stay, so that a training has as many epochs as the final one.

    Raises:
        DataError: a class has a single training image.
    """
    fold_of_shot = _fold_of_shot(task.train_labels)
    smallest = int(np.bincount(task.train_labels).min())
    if smallest < 2:
        message = (
            f"the task of {shots_in_words(task.shots)} and seed {task.seed} has a class with a single "
            "training image, of which none can be held out: label two images of each class or "
            "more, or choose on validation, or learn the ratio"
        )
        raise DataError(message)
    return [_without(task, fold_of_shot == fold) for fold in range(min(smallest, MAX_FOLDS))]


def _fold_of_shot(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each image the number of images of its class before it."""
    fold_of_shot = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        fold_of_shot[own] = np.arange(len(own))
    return fold_of_shot


def _without(task: FewShotTask, left_out: np.ndarray) -> FewShotTask:
    views = task.train_views
    return replace(
        task,
        train_features=task.train_features[~left_out],
        train_labels=task.train_labels[~left_out],
        train_views=None if views is None else views[:, ~left_out],
        val_features=task.train_features[left_out],
        val_labels=task.train_labels[left_out],
    )


def merge_folds(results: Sequence[Sequence[Candidate]]) -> tuple[Candidate, ...]:
    """The mean result of each point over all folds, which leave out equally many images."""
    return tuple(
        Candidate(
            settings=of_point[0].settings,
            validation_accuracy=float(np.mean([one.validation_accuracy for one in of_point])),
            validation_nll=float(np.mean([one.validation_nll for one in of_point])),
        )
        for of_point in zip(*results, strict=True)
    )


def _in_folds(grid: Grid) -> list[Grid]:
    return [[replace(candidate, task=fold) for candidate in grid] for fold in folds(grid[0].task)]


def _share_of_folds(grids: Sequence[Grid], fold_grids: Sequence[Sequence[Grid]]) -> float:
    """Fraction of the image visits of a whole fit, which ends with one more training a task."""
    visits = sum(one.image_visits for of_task in fold_grids for grid in of_task for one in grid)
    final = sum(grid[0].image_visits for grid in grids)
    return visits / max(1, visits + final)
