"""Which point of a grid a task ends with, and what data said so."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from clip_adapter.methods.clip_adapter.trial import Trained, Trial
from clip_adapter.methods.method import Candidate, best_candidate, judge
from clip_adapter.methods.task import FewShotTask, TaskError, require_validation
from clip_adapter.shots import shots_in_words

MOST_ROTATIONS = 4
"""More cost more and say little more: four leave four images of each class out, as many as the
usual validation set has."""


def rotations(task: FewShotTask) -> list[FewShotTask]:
    """The task with one shot of each class moved to validation, for each of up to four shots.

    Rotation r leaves the r-th training image of every class out, and there are as many as the
    smallest class has images, at most four. The task's own validation images are not looked at.
    Shots and seed stay, so that a training goes through its epochs as the final one will.

    Raises:
        TaskError: if a class has a single training image.
    """
    turns = _turns(task.train_labels)
    smallest = int(np.bincount(task.train_labels).min())
    if smallest < 2:
        message = (
            f"the task of {shots_in_words(task.shots)} and seed {task.seed} has a class with a single "
            "training image, of which none can be held out: label two images of each class or "
            "more, or choose on validation, or learn the ratio"
        )
        raise TaskError(message)
    return [_without(task, turns == turn) for turn in range(min(smallest, MOST_ROTATIONS))]


def _turns(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each image how many of its class stand before it."""
    turns = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turns[own] = np.arange(len(own))
    return turns


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


def pool(candidates: Sequence[Candidate]) -> Candidate:
    """How one point of a grid did on the images of all rotations, which leave out equally many."""
    return Candidate(
        settings=candidates[0].settings,
        validation_accuracy=float(np.mean([one.validation_accuracy for one in candidates])),
        validation_nll=float(np.mean([one.validation_nll for one in candidates])),
    )


class Contest:
    """Judges models as they come, in any order, and keeps the weights of the best alone.

    Attributes:
        seconds: that all of them took together.
    """

    def __init__(self, task: FewShotTask) -> None:
        self.seconds = 0.0
        self._task = task
        self._tried: dict[int, Candidate] = {}
        self._best: list[Trained] = []

    def enter(self, number: int, trained: Trained, point: Mapping[str, float]) -> None:
        """Judge the model that was trained at that point of the grid."""
        self._tried[number] = judge(trained.classifier, self._task, **point)
        self.seconds += trained.seconds
        if sorted(self._tried)[best_candidate(self.candidates)] == number:
            self._best = [trained]

    @property
    def winner(self) -> Trained:
        """The best of those judged so far; there must be one."""
        return self._best[0]

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Everything judged so far, in the order of the grid."""
        return tuple(self._tried[number] for number in sorted(self._tried))


Grid = Sequence[Trial]
"""The trials of one task, one a point."""


@runtime_checkable
class Run(Protocol):
    """Trains trials, in any order."""

    def __call__(
        self, trials: Sequence[Trial], *, share: float = 1.0
    ) -> Iterator[tuple[int, Trained]]:
        """Yield the number of each trial with what came of it.

        Args:
            trials: what to train.
            share: of the whole work, for whoever watches the progress.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a task ends with.

    Attributes:
        trained: the model.
        candidates: everything that was tried.
        seconds: spent on all of it.
    """

    trained: Trained
    candidates: tuple[Candidate, ...]
    seconds: float


def train_only(trials: Sequence[Trial], run: Run, *, share: float = 1.0) -> list[Outcome]:
    """Train one trial a task; there is nothing to choose."""
    trained = dict(run(trials, share=share))
    return [
        Outcome(trained=trained[number], candidates=(), seconds=trained[number].seconds)
        for number in range(len(trials))
    ]


def choose_on_validation(grids: Sequence[Grid], run: Run) -> list[Outcome]:
    """Train every point and keep the best on the task's validation images.

    Raises:
        TaskError: if a task has none.
    """
    require_validation(grid[0].task for grid in grids)
    contests = _hold_contests(grids, run, share=1.0)
    return [
        Outcome(trained=contest.winner, candidates=contest.candidates, seconds=contest.seconds)
        for contest in contests
    ]


def choose_on_held_out_shots(grids: Sequence[Grid], run: Run) -> list[Outcome]:
    """Train every point on each rotation, then the one best on what was left out on all shots.

    Raises:
        TaskError: if a class of a task has a single training image.
    """
    turns = [_rotated(grid) for grid in grids]
    share = _share_of_rotations(grids, turns)
    contests = iter(
        _hold_contests([grid for of_task in turns for grid in of_task], run, share=share)
    )
    held = [[next(contests) for _ in of_task] for of_task in turns]
    pooled = [_pool(of_task) for of_task in held]
    chosen = [
        grid[best_candidate(candidates)] for grid, candidates in zip(grids, pooled, strict=True)
    ]
    final = train_only(chosen, run, share=1.0 - share)
    return [
        replace(
            outcome,
            candidates=candidates,
            seconds=outcome.seconds + sum(contest.seconds for contest in of_task),
        )
        for outcome, candidates, of_task in zip(final, pooled, held, strict=True)
    ]


def _rotated(grid: Grid) -> list[Grid]:
    """The same points, on the task without some shots."""
    return [[replace(trial, task=turn) for trial in grid] for turn in rotations(grid[0].task)]


def _pool(contests: Sequence[Contest]) -> tuple[Candidate, ...]:
    points = zip(*(contest.candidates for contest in contests), strict=True)
    return tuple(pool(point) for point in points)


def _share_of_rotations(grids: Sequence[Grid], turns: Sequence[Sequence[Grid]]) -> float:
    """Of the image visits of a whole fit, which ends with one more training a task."""
    visits = sum(trial.image_visits for of_task in turns for grid in of_task for trial in grid)
    final = sum(grid[0].image_visits for grid in grids)
    return visits / max(1, visits + final)


def _hold_contests(grids: Sequence[Grid], run: Run, *, share: float) -> list[Contest]:
    """Judge every trial on the validation images of its task, in one go."""
    contests = [Contest(grid[0].task) for grid in grids]
    places = [
        (contest, number)
        for contest, grid in zip(contests, grids, strict=True)
        for number in range(len(grid))
    ]
    trials = [trial for grid in grids for trial in grid]
    for number, trained in run(trials, share=share):
        contest, point = places[number]
        contest.enter(point, trained, trials[number].ratios)
    return contests
