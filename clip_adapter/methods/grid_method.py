"""The base class of methods that choose hyper-parameters from a grid."""

import time
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import ClassVar, TypeVar

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.methods.method import Candidate, Fitted, HeldOut, Method, Progress, SelectedOn
from clip_adapter.methods.selection import (
    MAX_FOLDS,
    Selection,
    best_candidate,
    choices_of_others,
    evaluate_candidate,
    fold_rows,
    folds,
    merge_folds,
    nested_score,
    scored_parts,
    selected_on,
    validation_parts,
)
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import Training

Point = Mapping[str, float]
"""One point of a grid of hyper-parameters, by name."""
Report = Callable[[int], None]
"""Called with the units of work that were done since the last call."""
FLOATS_IN_MEMORY = 2**27
"""Values of all models and tasks that train together, 512 MB; a single task may have more."""
TRAINED = 4
"""Values that a trained weight takes: itself, its gradient, and up to two of the optimizer's state."""
ROUNDING = 1e-9
"""Fraction of progress that sums of fractions may miss."""
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A task, and the points of the grid at which a method is fitted to it."""

    task: FewShotTask
    points: Sequence[Point]

    def distinct(self, *names: str) -> list[Point]:
        """The points reduced to some of their hyper-parameters, each once, in their order."""
        reduced = [{name: point[name] for name in names} for point in self.points]
        return [point for number, point in enumerate(reduced) if point not in reduced[:number]]


@dataclass(frozen=True, kw_only=True)
class GridMethod(Method):
    """A method that is fitted at each point of a grid of hyper-parameters, of which one is chosen.

    The `selection` determines the images that choose; they never include a test image:

    - "validation": the task's validation images. Without any, held-out shots choose.
    - "held-out-shots": in each of up to `most_folds` folds one shot of each class is left out, and
      each point is fitted to the rest; all left-out shots choose, and the chosen point is fitted to
      all shots. No validation image chooses. A class of one image stays in training; where fewer than
      half of the classes have two images, nothing is chosen.
    - "none": nothing is chosen; the point of the method's defaults is taken, which depend on the
      number of shots and on nothing else.

    A grid of a single point is taken as it is.

    Attributes:
        most_folds: largest number of folds of held-out shots.
        selection: the images that choose: validation, held-out-shots or none.
    """

    most_folds: ClassVar[int] = MAX_FOLDS

    selection: Selection = "validation"

    @abstractmethod
    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:
        """The values to try of each hyper-parameter, by name; a grid has all combinations."""

    @abstractmethod
    def defaults(self, task: FewShotTask) -> Point:
        """The value of each hyper-parameter where nothing is chosen."""

    @abstractmethod
    def fit_together(
        self, trials: Sequence[Trial], *, device: str, report: Report
    ) -> Iterator[list[Fitted]]:
        """Fit the method to some tasks of one kind, each at equally many points.

        Args:
            trials: tasks with equal `kind`, at most `most_together` of them.
            device: torch device that trains, such as "cuda:0".
            report: called with the units of `work` that were just done.

        Yields:
            For each trial in its order one fitted classifier a point.
        """

    def grid(self, task: FewShotTask) -> list[Point]:
        """Every combination of the hyper-parameters' values."""
        axes = self.axes(task)
        return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]

    @property
    def without_choice(self) -> SelectedOn:
        """What is recorded where nothing is chosen: "training" if a hyper-parameter is learned."""
        return "nothing"

    def held_out_grid(self, task: FewShotTask) -> list[Point]:
        """The points among which held-out shots choose; all of them, unless some mean another thing in a fold."""
        return self.grid(task)

    def work(self, trial: Trial) -> int:  # noqa: ARG002  # of a method that trains
        """Units of work that a trial takes, as `fit_together` reports them."""
        return 1

    def most_together(self, trial: Trial) -> int:  # noqa: ARG002  # of a method that stacks tasks
        """How many trials like this one fit into memory together."""
        return 1

    def kind(self, task: FewShotTask) -> Hashable:
        """Equal for tasks whose arrays can be stacked and whose logits are scaled alike."""
        return task.shots, task.train_features.shape, task.prompt_features.shape, task.logit_scale

    def needs_validation(self, task: FewShotTask) -> bool:
        """Whether validation images are to choose among several points."""
        return self.selection == "validation" and len(self.grid(task)) > 1

    def logits(
        self, fitted: Sequence[Fitted], features: Float[np.ndarray, "m d"]
    ) -> Iterator[Float[np.ndarray, "m c"]]:
        """The logits of one task's classifiers, one array a point."""
        for one in fitted:
            yield one.classifier.logits(features)

    def fit(
        self,
        tasks: Sequence[FewShotTask],
        *,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[Fitted]:
        """Fit one classifier a task, choosing a point of the grid, see `Method.fit`."""
        ways = {
            "validation": self._choose_on_validation,
            "held-out shots": self._choose_on_held_out_shots,
            "nothing": self._take_default,
        }
        by_way: dict[SelectedOn, list[int]] = defaultdict(list)
        for number, task in enumerate(tasks):
            by_way[self._selected_on(task)].append(number)
        found: dict[int, Fitted] = {}
        for way, numbers in by_way.items():
            share = len(numbers) / len(tasks)
            fitting = _Fitting(self, device=device, progress=progress, share=share)
            fitted = ways[way]([tasks[number] for number in numbers], fitting)
            for place, (number, one) in enumerate(zip(numbers, fitted, strict=True)):
                found[number] = replace(
                    one,
                    selected_on=self.without_choice if way == "nothing" else way,
                    seconds=fitting.seconds[place],
                )
            fitting.finish()
        return [found[number] for number in range(len(tasks))]

    def fit_on_folds(
        self,
        tasks: Sequence[FewShotTask],
        in_folds: Sequence[Sequence[FewShotTask]],
        *,
        by_others: bool = True,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> list[tuple[Fitted, list[list[HeldOut]]]]:
        """Fit one classifier a task at the point that does best in given folds, whatever the `selection`.

        Args:
            tasks: arrays to fit to.
            in_folds: one or more folds of each task: tasks whose training images fit every point, and whose
                validation images choose. The task itself may be the last of its folds.
            by_others: also fit the points that are chosen without some of the images.
            device: torch device that trains, such as "cuda:0"; the classifiers end up on the CPU.
            progress: called with the fraction of the work that was just done.

        Returns:
            For each task the classifier, and logits in each fold: first those of the chosen point, then for each
            of the `scored_parts` those of the point that all other images choose. The latter are
            missing where a single part has all images, or they are not asked for.
        """
        fitting = _Fitting(self, device=device, progress=progress, share=1.0)
        found = self._choose_on_folds(tasks, in_folds, fitting, by_others=by_others)
        others = [_distinct(points[1:], besides=points[0]) for *_, points in found]
        refitted = [
            its_folds if some else [] for its_folds, some in zip(in_folds, others, strict=True)
        ]
        of_others = fitting.map_each(_held_out, refitted, others)
        fitting.finish()
        logits = [
            [parts, *map(list, zip(*of_folds, strict=True))]
            for (_, parts, _), of_folds in zip(found, of_others, strict=True)
        ]
        return [
            (
                replace(one, seconds=fitting.seconds[number]),
                [logits[number][[points[0], *others[number]].index(point)] for point in points],
            )
            for number, (one, _, points) in enumerate(found)
        ]

    def _selected_on(self, task: FewShotTask) -> SelectedOn:
        way = selected_on(self.selection, task)
        points = self.held_out_grid(task) if way == "held-out shots" else self.grid(task)
        return way if len(points) > 1 else "nothing"

    def _choose_on_validation(
        self, tasks: Sequence[FewShotTask], fitting: "_Fitting"
    ) -> list[Fitted]:
        trials = [Trial(task=task, points=self.grid(task)) for task in tasks]
        fitting.plan(trials)
        return fitting.map(self._best_on_validation, trials)

    def _choose_on_held_out_shots(
        self, tasks: Sequence[FewShotTask], fitting: "_Fitting"
    ) -> list[Fitted]:
        in_folds = [folds(task, at_most=self.most_folds) for task in tasks]
        rows = [fold_rows(task.train_labels, at_most=self.most_folds) for task in tasks]
        return [
            replace(one, held_out=HeldOut.joined(parts, of_task))
            for of_task, (one, parts, _) in zip(
                rows, self._choose_on_folds(tasks, in_folds, fitting), strict=True
            )
        ]

    def _choose_on_folds(
        self,
        tasks: Sequence[FewShotTask],
        in_folds: Sequence[Sequence[FewShotTask]],
        fitting: "_Fitting",
        *,
        by_others: bool = True,
    ) -> list[tuple[Fitted, list[HeldOut], list[Point]]]:
        """Fit each task at the best point of its folds, and the folds once more for their logits.

        The points are that one and, for each of the `scored_parts`, the one that all other images choose.
        """
        again = [
            [fold for fold in its_folds if fold is not task]  # which the final fit serves
            for task, its_folds in zip(tasks, in_folds, strict=True)
        ]
        grids = [self.held_out_grid(task) for task in tasks]
        alone = [[task] for task in tasks]
        last = [points[-1:] for points in grids]
        fitting.plan([*_trials(in_folds, grids), *_trials(again, last), *_trials(alone, last)])

        def evaluated(trial: Trial, fitted: list[Fitted]) -> list[list[Candidate]]:
            """Results on all validation images of the trial, and in parts where they are the task's own."""
            labels = trial.task.val_labels
            is_own = any(trial.task is task for task in tasks)
            parts = validation_parts(labels) if is_own and by_others else []
            return self._evaluated(trial, fitted, [np.arange(len(labels)), *parts])

        results = fitting.map_each(evaluated, in_folds, grids)
        sizes = [[len(fold.val_labels) for fold in its_folds] for its_folds in in_folds]
        candidates = [
            merge_folds([whole for whole, *_ in of_task], n_images)
            for of_task, n_images in zip(results, sizes, strict=True)
        ]
        others = (
            list(map(_choices_of_others, tasks, in_folds, results))
            if by_others
            else [[] for _ in tasks]
        )
        nested = [
            nested_score([whole for whole, *_ in of_task], n_images)
            for of_task, n_images in zip(results, sizes, strict=True)
        ]
        chosen = [
            [points[best_candidate(tried)]] for points, tried in zip(grids, candidates, strict=True)
        ]
        fitted = fitting.map_each(_first, alone, chosen)
        held_out = map(iter, fitting.map_each(_held_out, again, chosen))
        return [
            (
                replace(one, candidates=tried, nested=score),
                [
                    HeldOut.of(one.classifier, task) if fold is task else next(parts)[0]
                    for fold in its_folds
                ],
                [point, *(points[number] for number in numbers)],
            )
            for task, its_folds, (one,), tried, score, parts, (point,), points, numbers in zip(
                tasks,
                in_folds,
                fitted,
                candidates,
                nested,
                held_out,
                chosen,
                grids,
                others,
                strict=True,
            )
        ]

    def _take_default(self, tasks: Sequence[FewShotTask], fitting: "_Fitting") -> list[Fitted]:
        trials = [Trial(task=task, points=[self.default(task)]) for task in tasks]
        fitting.plan(trials)
        return fitting.map(_first, trials)

    def default(self, task: FewShotTask) -> Point:
        """The point of the grid that is nearest to the method's defaults."""
        defaults = self.defaults(task)
        return {
            name: min(values, key=lambda value: abs(value - defaults[name]))  # used at once
            for name, values in self.axes(task).items()
        }

    def _best_on_validation(self, trial: Trial, fitted: list[Fitted]) -> Fitted:
        labels = trial.task.val_labels
        parts = validation_parts(labels)
        candidates, *of_parts = self._evaluated(trial, fitted, [np.arange(len(labels)), *parts])
        chosen = _one_of(trial, fitted, best_candidate(candidates))
        nested = nested_score(of_parts, list(map(len, parts)))
        return replace(chosen, candidates=tuple(candidates), nested=nested)

    def _evaluated(
        self, trial: Trial, fitted: list[Fitted], parts: Sequence[Int[np.ndarray, " _"]]
    ) -> list[list[Candidate]]:
        """Results of each point on some rows of the validation images of the trial, and on others."""
        task = trial.task
        results: list[list[Candidate]] = [[] for _ in parts]
        all_scores = self.logits(fitted, task.val_features)
        for point, scores in zip(trial.points, all_scores, strict=True):
            for found, rows in zip(results, parts, strict=True):
                found.append(evaluate_candidate(scores[rows], task.val_labels[rows], **point))
        return results


class _Fitting:
    """Fits a method to trials, those of one kind together, and counts work and time.

    Args:
        method: the method with its settings.
        device: torch device that trains, such as "cuda:0".
        progress: called with the fraction of the whole fit that was just done.
        share: fraction of the whole fit that this is.

    Attributes:
        seconds: time of the trials of each task, by the task's number.
    """

    def __init__(
        self, method: GridMethod, *, device: str, progress: Progress | None, share: float
    ) -> None:
        self._method = method
        self._device = device
        self._progress = progress or (lambda _: None)
        self._units = 0
        self._left = self._share = share
        self.seconds: dict[int, float] = defaultdict(float)

    def plan(self, trials: Sequence[Trial]) -> None:
        """Announce all the trials, so that their work is known before it begins."""
        self._units = sum(map(self._method.work, trials))

    def finish(self) -> None:
        """Report what was planned and not needed."""
        if self._left > ROUNDING:
            self._progress(self._left)

    def map(
        self,
        take: Callable[[Trial, list[Fitted]], Result],
        trials: Sequence[Trial],
        owners: Sequence[int] | None = None,
    ) -> list[Result]:
        """Fit each trial, and keep what a function takes of its classifiers.

        Args:
            take: from a trial and its classifiers, one a point, to what is kept.
            trials: tasks and points.
            owners: number of the task that each trial belongs to; by default its own.
        """
        taken: dict[int, Result] = {}
        for numbers in self._groups(trials):
            start = time.perf_counter()
            group = [trials[number] for number in numbers]
            fitted = self._method.fit_together(group, device=self._device, report=self._report)
            for number, trial, points in zip(numbers, group, fitted, strict=True):
                taken[number] = take(trial, points)
            seconds = (time.perf_counter() - start) / len(group)
            for number in numbers:
                self.seconds[number if owners is None else owners[number]] += seconds
        return [taken[number] for number in range(len(trials))]

    def map_each(
        self,
        take: Callable[[Trial, list[Fitted]], Result],
        tasks: Sequence[Sequence[FewShotTask]],
        grids: Sequence[Sequence[Point]],
    ) -> list[list[Result]]:
        """Fit the tasks of each list at the points of its grid, and keep what a function takes."""
        owners = [number for number, some in enumerate(tasks) for _ in some]
        taken = iter(self.map(take, _trials(tasks, grids), owners))
        return [[next(taken) for _ in some] for some in tasks]

    def _report(self, units: int) -> None:
        done = min(self._left, self._share * units / self._units)
        self._left -= done
        if done > 0:  # what turns out to be needed besides what was planned adds nothing
            self._progress(done)

    def _groups(self, trials: Sequence[Trial]) -> list[list[int]]:
        """Numbers of trials that are fitted together."""
        groups: dict[Hashable, list[int]] = defaultdict(list)
        for number, trial in enumerate(trials):
            groups[self._method.kind(trial.task), len(trial.points)].append(number)
        return [
            numbers[first : first + size]
            for numbers in groups.values()
            for size in [max(1, self._method.most_together(trials[numbers[0]]))]
            for first in range(0, len(numbers), size)
        ]


def _trials(
    tasks: Sequence[Sequence[FewShotTask]], grids: Sequence[Sequence[Point]]
) -> list[Trial]:
    return [
        Trial(task=task, points=points)
        for some, points in zip(tasks, grids, strict=True)
        for task in some
    ]


def _first(trial: Trial, fitted: list[Fitted]) -> Fitted:
    return _one_of(trial, fitted, 0)


def _one_of(trial: Trial, fitted: list[Fitted], number: int) -> Fitted:
    """The classifier of a point, whose hyper-parameters are among its settings."""
    one = fitted[number]
    return replace(one, settings={**trial.points[number], **one.settings})


def _held_out(trial: Trial, fitted: list[Fitted]) -> list[HeldOut]:
    return [HeldOut.of(one.classifier, trial.task) for one in fitted]


def _choices_of_others(
    task: FewShotTask, in_folds: Sequence[FewShotTask], results: Sequence[list[list[Candidate]]]
) -> list[int]:
    """For each of the `scored_parts` the number of the point that all other images choose."""
    parts, sizes = [], []
    for fold, (whole, *quarters) in zip(in_folds, results, strict=True):
        parts += quarters or [whole]
        rows = validation_parts(fold.val_labels) if fold is task else [fold.val_labels]
        sizes += list(map(len, rows))
    chosen = choices_of_others(parts, sizes)
    return chosen[-len(scored_parts(task, in_folds)) :]


def _distinct(points: Sequence[Point], *, besides: Point) -> list[Point]:
    """The points that differ from one, each once, in their order."""
    return [
        point
        for number, point in enumerate(points)
        if point != besides and point not in points[:number]
    ]


def stop_epochs(trials: Sequence[Trial], training: Training) -> list[int]:
    """The numbers of epochs after which some point of the trials stops, in ascending order."""
    lengths = {point["length"] for trial in trials for point in trial.points}
    return sorted({training.epoch_of(length) for length in lengths})


def models_in_memory(n_floats: int) -> int:
    """How many models with some number of weights and other values fit into memory together."""
    return FLOATS_IN_MEMORY // n_floats


def floats_of(task: FewShotTask, *, views: int = 0) -> int:
    """The number of values that a task's images, prompts and prototypes take in a stack of tasks."""
    images = task.train_features.size * max(1, views)
    return images + task.prompt_features.size + task.class_prototypes.size
