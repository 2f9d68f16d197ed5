"""The studies of a dataset that vary one thing: what was varied, and the results."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from clip_adapter.datasets import PROMPT_STYLES
from clip_adapter.report.numbers import Mean, mean_of, plain
from clip_adapter.report.results import read_measured, results_of, train_on_same_images
from clip_adapter.report.selection_costs import SELECTION
from clip_adapter.runs import (
    OPEN_VOCABULARY,
    Configuration,
    RunRecord,
    RunResult,
    connect,
    name_configurations,
    name_image_choices,
)
from feature_cache import Location

Scale = Literal["numbers", "octaves", "names"]
"""Axis of the varied setting: linear, logarithmic, or names in a row."""

_RATIO_MODES = ("fixed", "validation", "learned", "hypernetwork", "held-out-shots", "none")
_SELECTED_ON = {"validation": "validation", "held-out shots": "held-out-shots"}
_BRANCHES = ("visual", "text", "both")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One value of what a study varies.

    Attributes:
        name: value in words.
        position: place on the axis; for names, the place in the row.
        means: mean test accuracy by shots.
    """

    name: str
    position: float
    means: Mapping[int, Mean]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study.

    Attributes:
        name: name of the study.
        recipe: recipe of its training; empty where none is recorded.
        varied: setting that is varied, in words.
        scale: axis of that setting.
        variants: values of that setting, in the order of the axis.
        seeds: seeds of its runs.
        images: what chose its training images, in words; empty for our sampler.
    """

    name: str
    recipe: str
    varied: str
    scale: Scale
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]
    images: str = ""


@dataclass(frozen=True, kw_only=True)
class _Axis:
    varied: str
    scale: Scale
    value: Callable[[RunRecord], float | str]
    order: tuple[str, ...] = ()


def _setting(name: str) -> Callable[[RunRecord], float | str]:
    def value(run: RunRecord) -> float | str:
        found = getattr(run.settings, name)
        return found if isinstance(found, int | float) else str(found)

    return value


def _prompts(run: RunRecord) -> str:
    named = {templates: name for name, templates in PROMPT_STYLES.items()}
    if run.templates in named:
        return named[run.templates]
    return run.templates[0] if len(run.templates) == 1 else f"{len(run.templates)} prompts"


def _relus(run: RunRecord) -> str:
    return "two ReLUs" if run.settings.output_activation else "one ReLU"


def _ratio_mode(run: RunRecord) -> str:
    """How the ratio was determined; of a constant one, on what it was chosen.

    Runs of earlier versions have the latter as their mode.
    """
    mode = str(run.settings.ratio_mode)
    if mode in {"validation", "held-out-shots"}:
        return "fixed" if run.selected_on == "nothing" else mode
    if mode != "constant":
        return mode
    candidates = (run.hyperparameters or {}).get("residual_ratios") or ()
    return "fixed" if len(candidates) == 1 else _SELECTED_ON.get(run.selected_on, "none")


def _rival(run: RunRecord) -> str:
    """The method, and on what it was to choose, if not on validation images."""
    asked = (run.hyperparameters or {}).get("selection")
    if asked == "validation" and not run.n_validation:
        asked = "held-out-shots"  # which stand in for them
    return run.method if asked in {None, "validation"} else f"{run.method}, {asked}"


def _selected_on(run: RunRecord) -> str:
    return run.selected_on


_AXES: Mapping[str, _Axis] = {
    "bottleneck-width": _Axis(
        varied="reduction (feature width over bottleneck width)",
        scale="octaves",
        value=_setting("reduction"),
    ),
    "residual-ratio": _Axis(
        varied="residual ratio", scale="numbers", value=_setting("residual_ratio")
    ),
    "branch": _Axis(varied="branch", scale="names", value=_setting("branch"), order=_BRANCHES),
    "prompt-style": _Axis(
        varied="prompts", scale="names", value=_prompts, order=tuple(PROMPT_STYLES)
    ),
    "views": _Axis(varied="cached views of each image", scale="names", value=_setting("views")),
    "output-activation": _Axis(
        varied="activations", scale="names", value=_relus, order=("one ReLU", "two ReLUs")
    ),
    "ratio-mode": _Axis(
        varied="what sets the ratio", scale="names", value=_ratio_mode, order=_RATIO_MODES
    ),
    "rivals": _Axis(varied="method", scale="names", value=_rival, order=("zero-shot",)),
    "paper": _Axis(varied="method", scale="names", value=_rival, order=("zero-shot",)),
    "published": _Axis(
        varied="images that chose ratio and length", scale="names", value=_selected_on
    ),
}
PUBLISHED: Mapping[int, float] = {1: 0.6140, 2: 0.6390, 4: 0.7338, 8: 0.7793, 16: 0.8443}
"""Test accuracy of CLIP-Adapter on EuroSAT with CLIP's RN50, by shots (Gao et al.,
https://arxiv.org/abs/2110.04544)."""
_OF_METHODS = ("rivals", "paper")


def read_studies(root: Location, *, dataset: str, encoder: str) -> list[Study]:
    """Read the studies on one dataset with one encoder.

    Raises:
        RunStoreError: there is no store.
    """
    with connect(root) as database:
        results = read_measured(database, "study_runs")
    return studies_of(results_of(results, dataset, encoder))


def studies_of(results: Sequence[RunResult]) -> list[Study]:
    """The studies by what chose the training images, name and recipe.

    The variants of a study that is not one of the paper's are named by the settings in which they differ.
    Open-vocabulary and selection are left out, whose results are not one accuracy: see
    `open_vocabulary_of` and `selection_costs_of`. In rivals and paper, methods without a recipe are beside those of
    every recipe.
    """
    choices = sorted({each.run.image_choice for each in results if each.run.shots}) or ["own"]
    images = name_image_choices(choices)
    return [
        replace(study, images=images[choice])
        for choice in choices
        for study in _studies_on(choice, results)
    ]


def _studies_on(choice: str, results: Sequence[RunResult]) -> list[Study]:
    """The studies on one choice of training images, with the runs that use none."""
    of_choice = [each for each in results if not each.run.shots or each.run.image_choice == choice]
    with_images = {each.run.study for each in of_choice if each.run.shots}
    by_name: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
    for result in of_choice:
        if choice != "own" and result.run.study not in with_images:
            continue
        if (
            result.run.study not in (None, OPEN_VOCABULARY, SELECTION)
            and ("test", "accuracy") in result.metrics
        ):
            by_name[str(result.run.study), result.run.settings.recipe or ""].append(result)
    for study in _OF_METHODS:
        if any(name == study and recipe for name, recipe in by_name):
            without = by_name.pop((study, ""), [])
            for key in [key for key in by_name if key[0] == study]:
                by_name[key] += without
    return [_study(*key, by_name[key]) for key in sorted(by_name)]


def _study(name: str, recipe: str, results: Sequence[RunResult]) -> Study:
    axis = _AXES.get(name) or _settings_axis(results)
    # A later run of a value, shots and seed replaces an earlier one, whatever else has changed: if
    # both counted, one choice of training images would weigh twice.
    latest = {
        (axis.value(result.run), result.run.shots, result.run.seed): result
        for result in sorted(results, key=lambda result: result.recency)
    }
    by_value: dict[float | str, list[RunResult]] = defaultdict(list)
    for (value, *_), result in latest.items():
        by_value[value].append(result)
    values = sorted(by_value, key=lambda value: _rank(axis, value))
    variants = [_variant(axis, value, by_value[value], place) for place, value in enumerate(values)]
    if name == "published":
        shots = {each for variant in variants for each in variant.means}
        variants.append(_published(shots, place=len(variants)))
    return Study(
        name=name,
        recipe=recipe,
        varied=axis.varied,
        scale=axis.scale,
        variants=tuple(variants),
        seeds=tuple(sorted({each.run.seed for each in results if each.run.seed is not None})),
    )


def _settings_axis(results: Sequence[RunResult]) -> _Axis:
    """The axis of a study that is none of the paper's: methods with the settings in which they differ."""
    names = name_configurations(result.run for result in results)
    return _Axis(varied="settings", scale="names", value=lambda run: names[Configuration.of(run)])


def _variant(axis: _Axis, value: float | str, results: Sequence[RunResult], place: int) -> Variant:
    by_shots: dict[int, list[RunResult]] = defaultdict(list)
    for result in results:
        by_shots[result.run.shots].append(result)
    is_number = axis.scale != "names" and isinstance(value, int | float)
    return Variant(
        name=plain(value),
        position=float(value) if is_number else float(place),
        means={
            shots: mean_of(
                [each.metrics["test", "accuracy"] for each in by_shots[shots]],
                same_images=train_on_same_images(by_shots[shots]),
            )
            for shots in sorted(by_shots)
        },
    )


def _published(shots: Collection[int], *, place: int) -> Variant:
    """The figures of the paper, which have no interval."""
    means = {each: Mean(value, None) for each, value in PUBLISHED.items() if each in shots}
    return Variant(name="the paper", position=float(place), means=means)


def _rank(axis: _Axis, value: float | str) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    known = value in axis.order
    return 1, float(axis.order.index(value) if known else len(axis.order)), value
