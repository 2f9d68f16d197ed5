"""What each way to choose hyper-parameters costs, on six sets of real features made for development.

Shots are means of ten augmented views, judged images single views (`dev_data`): the two are not exchangeable, which
makes held-out shots a little easier than the images that they stand for.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from scipy.stats import t as student_t

from benchmarks.dev_coverage import RESPLITS, coverage_lines
from benchmarks.dev_data import FOLDER, DevSet, dev_sets
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
from clip_adapter.methods.selection import (
    evaluate_candidate,
    merge_folds,
    nested_score,
    selected_on,
    validation_parts,
)

DRAWS = {1: 3, 2: 3, 4: 3, 8: 3, 16: 1}
"""Draws of training images by shots; of the 16 shots there is one choice."""
DRAWS_WITHOUT_TRAINING = {1: 30, 2: 30, 4: 30, 8: 30, 16: 1}
"""The same for methods that train nothing: their mean of three draws varies by half a point."""
CLOSED_FORM = (
    "tip-adapter",
    "gda",
    "ridge-to-text",
    "proker",
    "nearest-mean",
    "ss-text",
    "ss-text+",
    "ape",
)
"""Methods that train nothing, with which the time of `auto` is compared."""
VALIDATION_FREE = ("ss-text", "ss-text+", "clap")
"""Methods that choose nothing by construction; they may lie below zero-shot."""
BLENDS = ("auto", "clip-adapter+gda")
"""Methods that weigh other methods."""
BEHIND, BELOW, TIMES = -1.0, -0.5, 3.0
"""What `auto` may lose to the best method in hindsight and to zero-shot, in points, and its time."""
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
        cpu_seconds: processor time of choosing on held-out shots and of fitting the choice.
        on_validation: accuracy on the images to select by of what they chose, as methods are compared.
        nested_validation: accuracy on the images to select by, each scored by what others of them chose.
        on_held_out: accuracy on held-out shots of what they chose; NaN where none are held out.
        nested_held_out: accuracy on held-out shots, each fold scored by what the others chose; NaN where none are
            held out.
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
    cpu_seconds: float = 0.0
    on_validation: float = math.nan
    nested_validation: float = math.nan
    on_held_out: float = math.nan
    nested_held_out: float = math.nan


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
    found: dict[str, float]
    if isinstance(method, GridMethod):
        found = _of_grid(method, task, features, labels)
    elif "selection" in setting_names(type(method)):
        found = _of_search(method, task, features, labels)
    else:
        found = _of_one_way(method, task, features, labels)
    return Row(
        method=method.name,
        dataset=dev_set.name,
        shots=shots,
        draw=draw,
        zero_shot=_percent(by_text, labels),
        **found,
    )


def _of_grid(
    method: GridMethod, task: FewShotTask, features: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
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
    chosen = method.default(task)
    evidence: dict[str, float] = {}
    start = time.process_time()
    if selected_on("held-out-shots", task) == "held-out shots":
        tried = method.held_out_grid(task)
        parts = folds(task, at_most=method.most_folds)
        results = [candidates(part, tried, fitted(part, tried)) for part in parts]
        sizes = [len(part.val_labels) for part in parts]
        merged = merge_folds(results, sizes)
        chosen = tried[best_candidate(merged)]
        evidence = _evidence("held_out", merged, nested_score(results, sizes))
    fitted(task, [chosen])
    seconds = time.process_time() - start
    on_validation = candidates(task, grid, on_all)
    rows = validation_parts(task.val_labels)
    parts = [
        replace(task, val_features=task.val_features[some], val_labels=task.val_labels[some])
        for some in rows
    ]
    nested = nested_score([candidates(part, grid, on_all) for part in parts], list(map(len, rows)))
    return {
        "validation": judged[best_candidate(on_validation)],
        "held_out_shots": judged[grid.index(chosen)],
        "defaults": default,
        "hindsight": max(judged),
        "cpu_seconds": seconds,
        **evidence,
        **_evidence("validation", on_validation, nested),
    }


def _evidence(
    images: str, tried: Sequence[Candidate], nested: Candidate | None
) -> dict[str, float]:
    """Accuracy of the choice on the images that chose it, and that of choosing itself, in percent."""
    best = 100 * tried[best_candidate(tried)].validation_accuracy
    honest = best if nested is None else 100 * nested.validation_accuracy
    return {f"on_{images}": best, f"nested_{images}": honest}


def _of_search(
    method: Method, task: FewShotTask, features: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """A search of its own is made once for each protocol; hindsight searches on the judged images."""
    seen = replace(task, val_features=features, val_labels=labels)
    tries = (
        ("validation", task),
        ("held-out-shots", task),
        ("none", task),
        ("validation", seen),
    )
    accuracies, seconds = [], 0.0
    evidence: dict[str, float] = {}
    for selection, each in tries:
        start = time.process_time()
        (fitted,) = fit_method(create_method(method.name, {"selection": selection}), [each])
        if selection == "held-out-shots":
            seconds = time.process_time() - start
        if fitted.candidates and each is task:
            images = "validation" if selection == "validation" else "held_out"
            evidence |= _evidence(images, fitted.candidates, fitted.nested)
        accuracies.append(_percent(fitted.classifier.logits(features), labels))
    return {**dict(zip(PROTOCOLS, accuracies, strict=True)), "cpu_seconds": seconds, **evidence}


def _of_one_way(
    method: Method, task: FewShotTask, features: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """A method that chooses nothing is the same by every protocol."""
    start = time.process_time()
    (fitted,) = fit_method(method, [task])
    seconds = time.process_time() - start
    accuracy = _percent(fitted.classifier.logits(features), labels)
    on_validation = _percent(fitted.classifier.logits(task.val_features), task.val_labels)
    return {
        **dict.fromkeys(PROTOCOLS, accuracy),
        "cpu_seconds": seconds,
        "on_validation": on_validation,
        "nested_validation": on_validation,
    }


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
    figures = figures_of(rows)
    covered = coverage_lines(found, n_resplits=RESPLITS // 10 if quick else RESPLITS)
    return replace(figures, lines=(*figures.lines, *covered))


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
        lines=(
            *_table(rows),
            *_summary(rows),
            *_below_zero_shot(rows),
            *auto_lines(rows),
            *promotion_lines(rows),
        ),
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
    yield (
        "the lowest mean over draws of a set and number of shots, in points above zero-shot; exempt are "
        f"{', '.join(VALIDATION_FREE)}, which choose nothing by construction"
    )
    for method, of_method in _by(rows, "method"):
        worst = []
        for name in PROTOCOLS[:-1]:
            cells = [
                (_mean(some, name) - _mean(some, "zero_shot"), f"{dataset} {shots}")
                for _, dataset, shots, some in _cells(of_method)
            ]
            gain, where = min(cells)
            mark = " !" if gain < TOLERATED and method not in VALIDATION_FREE else ""
            worst.append(f"{name} {gain:+.1f} ({where}){mark}")
        yield f"{method:18} {', '.join(worst)}"


def auto_lines(rows: Sequence[Row], *, name: str = "auto") -> Iterator[str]:
    """A method beside all others on the same draws, each chosen on held-out shots alone."""
    draws = {(row.dataset, row.shots, row.draw) for row in rows if row.method == name}
    if not draws:
        return
    same = [row for row in rows if (row.dataset, row.shots, row.draw) in draws]
    cells = {
        method: {
            (dataset, shots): _mean(some, "held_out_shots")
            for dataset, of_set in _by(of_method, "dataset")
            for shots, some in _by(of_set, "shots")
        }
        for method, of_method in _by(same, "method")
    }
    ours = cells.pop(name)
    yield ""
    yield f"{name} beside single methods, chosen on held-out shots of the same draws"
    means = {method: fmean(accuracies.values()) for method, accuracies in cells.items()}
    for method in sorted(means, key=lambda method: -means[method]):
        yield f"{method:18} {means[method]:.2f} ({fmean(ours.values()) - means[method]:+.2f} for {name})"
    best = max(means, key=lambda method: means[method])
    mean = fmean(ours.values())
    yield f"mean of {name} {mean:.2f}, of the best single method, {best}, {means[best]:.2f}{_mark(mean >= means[best])}"
    for words, others in (
        (f"{best}, the best on average", cells[best]),
        ("the best of each set and number of shots", _best_of_each(cells)),
    ):
        gains = [ours[cell] - others[cell] for cell in ours]
        low, high = _interval(gains)
        worst = min(ours, key=lambda cell: ours[cell] - others[cell])
        yield (
            f"{name} minus {words}: {fmean(gains):+.2f}, 95 % interval {low:+.2f} to {high:+.2f} over "
            f"{len(gains)} sets and shots, lowest {ours[worst] - others[worst]:+.1f} "
            f"({worst[0]} {worst[1]}){_mark(low > BEHIND)}"
        )
    zero_shot = {
        (dataset, shots): _mean(some, "zero_shot")
        for _, dataset, shots, some in _cells([row for row in same if row.method == name])
    }
    worst = min(ours, key=lambda cell: ours[cell] - zero_shot[cell])
    gain = ours[worst] - zero_shot[worst]
    yield f"lowest above zero-shot: {gain:+.2f} ({worst[0]} {worst[1]}){_mark(gain >= BELOW)}"
    spent = {method: sum(row.cpu_seconds for row in some) for method, some in _by(same, "method")}
    reference = sum(spent.get(method, 0.0) for method in (*CLOSED_FORM, "clip-adapter"))
    if reference:
        times = spent[name] / reference
        yield (
            f"processor time: {spent[name]:.0f} s, {times:.2f} times that of the closed-form methods and "
            f"one fast CLIP-Adapter{_mark(times <= TIMES)}"
        )


def promotion_lines(rows: Sequence[Row], *, name: str = "auto") -> Iterator[str]:
    """What is promoted if each set and number of shots takes the method of the highest score.

    As in `choose_candidate` the score is a mean over draws. The candidates are single methods that images of
    model selection score; a method that chooses nothing has no held-out shots, as in a run.
    """
    single = [row for row in rows if row.method not in BLENDS and row.draw <= DRAWS[row.shots]]
    blend = [row for row in rows if row.method == name]
    for images, accuracy in (("held_out", "held_out_shots"), ("validation", "validation")):
        scored = [row for row in single if not math.isnan(getattr(row, f"nested_{images}"))]
        cells: dict[tuple[str, int], list[tuple[str, list[Row]]]] = defaultdict(list)
        for method, dataset, shots, some in _cells(scored):
            cells[dataset, int(shots)].append((method, some))
        methods_everywhere = {
            method
            for method, of_method in _by(scored, "method")
            if len(list(_cells(of_method))) == len(cells)
        }
        if len(methods_everywhere) < 2:
            continue
        yield ""
        yield (
            f"who is promoted by {images.replace('_', '-')} images, over {len(cells)} sets and shots, and by how "
            "much scores exceed the accuracy on images to judge by"
        )
        fixed = {
            method: fmean(_mean(some, accuracy) for *_, some in _cells(of_method))
            for method, of_method in _by(scored, "method")
            if method in methods_everywhere
        }
        best = max(fixed, key=lambda method: fixed[method])
        chosen = {}
        for score in ("on", "nested"):
            winners = [
                max(each, key=lambda one: _mean(one[1], f"{score}_{images}"))  # used at once
                for each in cells.values()
            ]
            chosen[score] = fmean(_mean(some, accuracy) for _, some in winners)
            optimism = {
                method: _mean(of_method, f"{score}_{images}") - _mean(of_method, accuracy)
                for method, of_method in _by(scored, "method")
            }
            of_chosen = fmean(
                _mean(some, f"{score}_{images}") - _mean(some, accuracy) for _, some in winners
            )
            words = "scored by the choice itself" if score == "nested" else "by images that chose"
            mark = _mark(chosen[score] >= fixed[best]) if score == "nested" else ""
            most = max(optimism, key=lambda method: optimism[method])
            yield (
                f"{words}: {chosen[score]:.2f}, scores {fmean(optimism.values()):+.2f} over all methods, "
                f"{optimism[most]:+.2f} of {most}, {of_chosen:+.2f} of the chosen{mark}"
            )
        yield f"the best fixed choice, {best}: {fixed[best]:.2f}"
        same = [row for row in blend if (row.dataset, row.shots) in cells]
        if same:
            mean = fmean(_mean(some, accuracy) for *_, some in _cells(same))
            yield f"{name}, the challenger where it was trained: {mean:.2f}{_mark(mean >= fixed[best])}"


def _best_of_each(
    cells: Mapping[str, Mapping[tuple[str, str], float]],
) -> dict[tuple[str, str], float]:
    """The accuracy of the method that is best in hindsight, for each set and number of shots."""
    known = next(iter(cells.values()))
    return {cell: max(of_method[cell] for of_method in cells.values()) for cell in known}


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's 95 % interval of a mean."""
    half = stdev(values) / len(values) ** 0.5 * float(student_t.ppf(0.975, len(values) - 1))
    return fmean(values) - half, fmean(values) + half


def _mark(is_met: bool) -> str:  # noqa: FBT001  # a word for it
    return "" if is_met else " !"


def _by(rows: Sequence[Row], name: str) -> list[tuple[str, list[Row]]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, name)].append(row)
    return list(groups.items())


def _mean(rows: Sequence[Row], name: str) -> float:
    return fmean(getattr(row, name) for row in rows)
