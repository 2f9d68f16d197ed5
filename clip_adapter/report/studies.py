"""The studies of a board: what was varied, and what came of it."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from clip_adapter.datasets import PROMPT_STYLES
from clip_adapter.report.facts import RunFacts, read_study_runs
from clip_adapter.report.numbers import Mean, mean_of, plain
from clip_adapter.runs import connect, with_settings
from feature_cache import Location

Scale = Literal["numbers", "octaves", "names"]
"""How the varied setting is drawn: as it is, by its logarithm, or as words in a row."""

_RATIO_MODES = ("fixed", "validation", "learned", "hypernetwork", "held-out-shots")
_BRANCHES = ("visual", "text", "both")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One value of what a study varies.

    Attributes:
        name: the value in words.
        position: where it is drawn; for names, its place in the row.
        means: test accuracy by shots.
    """

    name: str
    position: float
    means: Mapping[int, Mean]


@dataclass(frozen=True, kw_only=True)
class Study:
    """One study.

    Attributes:
        name: as the runs say it.
        recipe: by which they were trained; empty where they say none.
        varied: what is varied, in words.
        variants: in the order in which they are drawn.
        seeds: of its runs.
    """

    name: str
    recipe: str
    varied: str
    scale: Scale
    variants: tuple[Variant, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class _Axis:
    varied: str
    scale: Scale
    value: Callable[[RunFacts], float | str]
    order: tuple[str, ...] = ()


def _setting(name: str) -> Callable[[RunFacts], float | str]:
    def value(run: RunFacts) -> float | str:
        found = run.settings.get(name)
        return found if isinstance(found, int | float) else str(found)

    return value


def _prompts(run: RunFacts) -> str:
    named = {templates: name for name, templates in PROMPT_STYLES.items()}
    if run.templates in named:
        return named[run.templates]
    return run.templates[0] if len(run.templates) == 1 else f"{len(run.templates)} prompts"


def _relus(run: RunFacts) -> str:
    return "two ReLUs" if run.settings.get("output_activation") else "one ReLU"


def _ratio_mode(run: RunFacts) -> str:
    # A grid of a single ratio leaves validation nothing to choose.
    return "fixed" if run.selected_on == "nothing" else str(run.settings.get("ratio_mode"))


def _which_settings(run: RunFacts) -> str:
    return with_settings(run.method, run.settings_fingerprint)


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
}
_ANY = _Axis(varied="settings", scale="names", value=_which_settings)


def read_studies(root: Location, *, dataset: str, encoder: str) -> list[Study]:
    """The studies on record of one dataset and encoder, as a report draws them.

    Raises:
        RunStoreError: there is no store.
    """
    with connect(root) as database:
        return studies_of(read_study_runs(database, dataset=dataset, encoder=encoder))


def studies_of(runs: Sequence[RunFacts]) -> list[Study]:
    """By name and recipe; a study that is not one of the paper's is told apart by settings alone."""
    by_name: dict[tuple[str, str], list[RunFacts]] = defaultdict(list)
    for run in runs:
        if run.study is not None and "test accuracy" in run.metrics:
            by_name[run.study, str(run.settings.get("recipe", ""))].append(run)
    return [_study(*key, by_name[key]) for key in sorted(by_name)]


def _study(name: str, recipe: str, runs: Sequence[RunFacts]) -> Study:
    axis = _AXES.get(name, _ANY)
    # A later run of the same value, shots and seed replaces an earlier one, whatever else has
    # changed: were both counted, one choice of training images would weigh twice.
    ordered = sorted(runs, key=lambda run: run.recency)
    latest = {(axis.value(run), run.shots, run.seed): run for run in ordered}
    by_value: dict[float | str, list[RunFacts]] = defaultdict(list)
    for (value, *_), run in latest.items():
        by_value[value].append(run)
    values = sorted(by_value, key=lambda value: _rank(axis, value))
    return Study(
        name=name,
        recipe=recipe,
        varied=axis.varied,
        scale=axis.scale,
        variants=tuple(
            _variant(axis, value, by_value[value], place) for place, value in enumerate(values)
        ),
        seeds=tuple(sorted({run.seed for run in runs if run.seed is not None})),
    )


def _variant(axis: _Axis, value: float | str, runs: Sequence[RunFacts], place: int) -> Variant:
    scores: dict[int, list[float]] = defaultdict(list)
    for run in runs:
        scores[run.shots].append(run.metrics["test accuracy"])
    drawn_as_number = axis.scale != "names" and isinstance(value, int | float)
    return Variant(
        name=plain(value),
        position=float(value) if drawn_as_number else float(place),
        means={shots: mean_of(scores[shots]) for shots in sorted(scores)},
    )


def _rank(axis: _Axis, value: float | str) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return 0, float(value), ""
    known = value in axis.order
    return 1, float(axis.order.index(value) if known else len(axis.order)), value
