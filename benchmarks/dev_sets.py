"""What each way to choose hyper-parameters costs, on six sets of real features made for development.

The folder `clip-vit-b-32` of CLIP_ADAPTER_TEST_DATA holds `dev_*.npz`, a set each: features of CLIP
ViT-B/32 of 16 shots a class (means of ten augmented views), of up to four images a class to select by,
and of images to judge by (single views); and prototypes that come from none of these images. Shots and
judged images are not exchangeable, which makes held-out shots a little easier than the images that
they stand for. No test image of a dataset is read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.records import Figures
from clip_adapter.methods import (
    METHODS,
    Candidate,
    FewShotTask,
    Fitted,
    Gda,
    GridMethod,
    Method,
    TipAdapter,
    Trial,
    best_candidate,
    create_method,
    fit_method,
    folds,
    setting_names,
)
from clip_adapter.methods.grid_method import Point
from clip_adapter.methods.selection import evaluate_candidate, merge_folds, selected_on

FOLDER = "CLIP_ADAPTER_TEST_DATA"
DRAWS = {1: 3, 2: 3, 4: 3, 8: 2, 16: 1}
"""Draws of training images by shots; of the 16 shots there is one choice."""
DRAWS_WITHOUT_TRAINING = {1: 30, 2: 30, 4: 30, 8: 30, 16: 1}
"""The same for methods that train nothing: their mean of three draws varies by half a point."""
PROTOCOLS = ("validation", "held_out_shots", "defaults", "hindsight")
TOLERATED = -1.0
"""Points that the mean over draws may lie below zero-shot."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one draw: accuracies in percent by what chose its hyper-parameters.

    Attributes:
        method: name of the method.
        dataset: name of the set.
        shots: training images a class.
        draw: number of the draw of training images.
        zero_shot: accuracy of the prototypes alone.
        validation: chosen on the images to select by.
        held_out_shots: chosen on training images that are left out.
        defaults: not chosen.
        hindsight: the best point of the grid on the images to judge by.
    """

    method: str
    dataset: str
    shots: int
    draw: int
    zero_shot: float
    validation: float
    held_out_shots: float
    defaults: float
    hindsight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class DevSet:
    """One set.

    Attributes:
        name: name of the set.
        arrays: its arrays by name.
    """

    name: str
    arrays: dict[str, np.ndarray]

    def task(self, shots: int, draw: int) -> FewShotTask:
        """A task of some shots a class, in the order of the set; the draw is the seed."""
        labels = self.arrays["train_labels"].astype(np.int64)
        generator = np.random.default_rng(draw)
        chosen = [
            generator.permutation(np.flatnonzero(labels == label))[:shots]
            for label in np.unique(labels)
        ]
        rows = np.sort(np.concatenate(chosen))
        prototypes = self.arrays["prototypes"].astype(np.float32)
        return FewShotTask(
            train_features=self.arrays["train_features"][rows].astype(np.float32),
            train_labels=labels[rows],
            val_features=self.arrays["val_features"].astype(np.float32),
            val_labels=self.arrays["val_labels"].astype(np.int64),
            prompt_features=prototypes[:, None],
            logit_scale=100.0,
            class_names=tuple(str(number) for number in range(len(prototypes))),
            shots=shots,
            seed=draw,
        )

    @property
    def judged(self) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of the images to judge by."""
        labels = self.arrays["dev_labels"].astype(np.int64)
        return self.arrays["dev_features"].astype(np.float32), labels


def dev_sets(folder: Path) -> list[DevSet]:
    """All sets of a folder.

    Raises:
        SystemExit: there is none.
    """
    found = []
    for path in sorted((folder / "clip-vit-b-32").glob("dev_*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            found.append(DevSet(name=path.stem.removeprefix("dev_"), arrays=dict(arrays)))
    if not found:
        raise SystemExit(
            f"{folder} has no clip-vit-b-32/dev_*.npz: set {FOLDER} to a folder that has"
        )
    return found


def methods() -> list[Method]:
    """Every method that learns without a text tower, by its fast recipe where it has one."""
    kinds = [METHODS[name] for name in METHODS]
    return [
        create_method(kind.name, {"recipe": "fast"} if "recipe" in setting_names(kind) else {})
        for kind in kinds
        if kind.learns and not kind.needs_text_tower
    ]


def row_of(method: Method, dev_set: DevSet, *, shots: int, draw: int) -> Row:
    """Fit a method to a draw, and choose by every protocol."""
    task = dev_set.task(shots, draw)
    features, labels = dev_set.judged
    by_text = features @ task.class_prototypes.T
    accuracies = (
        _of_grid(method, task, features, labels)
        if isinstance(method, GridMethod)
        else _of_search(method, task, features, labels)
    )
    return Row(
        method=method.name,
        dataset=dev_set.name,
        shots=shots,
        draw=draw,
        zero_shot=_percent(by_text, labels),
        **dict(zip(PROTOCOLS, accuracies, strict=True)),
    )


def _of_grid(
    method: GridMethod, task: FewShotTask, features: np.ndarray, labels: np.ndarray
) -> tuple[float, ...]:
    """Every point is fitted once to all shots; what chooses takes one of them."""
    grid = method.grid(task)

    def fitted(to: FewShotTask, points: list[Point]) -> list[Fitted]:
        trial = Trial(task=to, points=points)
        (found,) = method.fit_together([trial], device="cpu", report=lambda _: None)
        return found

    def candidates(
        to: FewShotTask, points: list[Point], found: list[Fitted]
    ) -> tuple[Candidate, ...]:
        scores = method.logits(found, to.val_features)
        return tuple(
            evaluate_candidate(each, to.val_labels, **point)
            for each, point in zip(scores, points, strict=True)
        )

    on_all = fitted(task, grid)
    judged = [_percent(scores, labels) for scores in method.logits(on_all, features)]
    default = judged[grid.index(method.default(task))]
    held_out = default
    if selected_on("held-out-shots", task) == "held-out shots":
        tried = method.held_out_grid(task)
        parts = folds(task, at_most=method.most_folds)
        results = [candidates(part, tried, fitted(part, tried)) for part in parts]
        merged = merge_folds(results, [len(part.val_labels) for part in parts])
        held_out = judged[grid.index(tried[best_candidate(merged)])]
    on_validation = judged[best_candidate(candidates(task, grid, on_all))]
    return on_validation, held_out, default, max(judged)


def _of_search(
    method: Method, task: FewShotTask, features: np.ndarray, labels: np.ndarray
) -> tuple[float, ...]:
    """A search of its own is made once for each protocol; hindsight searches on the judged images."""
    seen = replace(task, val_features=features, val_labels=labels)
    tries = (
        ("validation", task),
        ("held-out-shots", task),
        ("none", task),
        ("validation", seen),
    )
    accuracies = []
    for selection, each in tries:
        (fitted,) = fit_method(create_method(method.name, {"selection": selection}), [each])
        accuracies.append(_percent(fitted.classifier.logits(features), labels))
    return tuple(accuracies)


def _percent(scores: np.ndarray, labels: np.ndarray) -> float:
    return 100 * float((scores.argmax(axis=1) == labels).mean())


def measure_dev_sets(place: Path, *, quick: bool) -> Figures:  # noqa: ARG001  # nothing is written
    """Fit every method to every draw of every set, and compare what chooses."""
    found = dev_sets(Path(os.environ.get(FOLDER, ".")))
    rows = [
        row_of(method, dev_set, shots=shots, draw=draw)
        for method in methods()
        for dev_set in found
        for shots, n_draws in draws_of(method, quick=quick).items()
        for draw in range(1, n_draws + 1)
    ]
    return figures_of(rows)


def draws_of(method: Method, *, quick: bool) -> dict[int, int]:
    """Number of draws by number of shots."""
    if quick:
        return dict.fromkeys((1, 4, 16), 1)
    return DRAWS_WITHOUT_TRAINING if isinstance(method, (TipAdapter, Gda)) else DRAWS


def figures_of(rows: Sequence[Row]) -> Figures:
    """The table, and what each protocol loses."""
    losses = {
        f"{method}, {protocol}": round(_mean(some, "hindsight") - _mean(some, protocol), 2)
        for method, some in _by(rows, "method")
        for protocol in PROTOCOLS[:-1]
    }
    return Figures(
        name="dev_sets",
        about="accuracy on images that nothing was chosen on, in percent: means over draws of training "
        "images; what is chosen on validation images, on held-out shots, by defaults, in hindsight",
        details={
            "points_lost_to_hindsight": losses,
            **{
                f"{method}, {dataset}, {shots} shots": ", ".join(
                    f"{name} {_mean(some, name):.2f}" for name in ("zero_shot", *PROTOCOLS)
                )
                for method, dataset, shots, some in _cells(rows)
            },
        },
        lines=(*_table(rows), *_summary(rows), *_below_zero_shot(rows)),
    )


def _table(rows: Sequence[Row]) -> Iterator[str]:
    names = " ".join(f"{name.removesuffix('_shots'):>10}" for name in PROTOCOLS)
    yield f"{'method':18} {'set':15} shots zero-shot {names}"
    for method, dataset, shots, some in _cells(rows):
        values = " ".join(f"{_mean(some, name):10.1f}" for name in PROTOCOLS)
        yield f"{method:18} {dataset:15} {shots:>5} {_mean(some, 'zero_shot'):9.1f} {values}"


def _cells(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, list[Row]]]:
    """The draws of each method, set and number of shots."""
    for method, of_method in _by(rows, "method"):
        for dataset, of_set in _by(of_method, "dataset"):
            for shots, some in _by(of_set, "shots"):
                yield method, dataset, shots, some


def _summary(rows: Sequence[Row]) -> Iterator[str]:
    yield ""
    yield "means over sets and shots, and what held-out shots lose against validation images"
    for method, of_method in _by(rows, "method"):
        cells = [[_mean(some, name) for name in PROTOCOLS] for *_, some in _cells(of_method)]
        validation, held_out, defaults, hindsight = (
            fmean(each) for each in zip(*cells, strict=True)
        )
        yield (
            f"{method:18} validation {validation:.2f}, held-out shots {held_out:.2f} "
            f"({held_out - validation:+.2f}), defaults {defaults:.2f}, hindsight {hindsight:.2f}"
        )


def _below_zero_shot(rows: Sequence[Row]) -> Iterator[str]:
    """The worst cell of every method and protocol, beside zero-shot."""
    yield ""
    yield "the lowest mean over draws of a set and number of shots, in points above zero-shot"
    for method, of_method in _by(rows, "method"):
        worst = []
        for name in PROTOCOLS[:-1]:
            cells = [
                (_mean(some, name) - _mean(some, "zero_shot"), f"{dataset} {shots}")
                for _, dataset, shots, some in _cells(of_method)
            ]
            gain, where = min(cells)
            mark = " !" if gain < TOLERATED else ""
            worst.append(f"{name} {gain:+.1f} ({where}){mark}")
        yield f"{method:18} {', '.join(worst)}"


def _by(rows: Sequence[Row], name: str) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, name)].append(row)
    return list(groups.items())


def _mean(rows: Sequence[Row], name: str) -> float:
    return fmean(getattr(row, name) for row in rows)
