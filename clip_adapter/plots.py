"""Figures of recorded runs, for notebooks and papers.

Each function asks the store in SQL and returns a chart of Altair, which a notebook shows as it is:
`plots.accuracy("eurosat")`. `plots.save(chart, "x.pdf")` writes it, and
`style=plots.Style.for_print(width=3.25, font_size=8)` draws it for a column of a paper.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import altair as alt
import pyarrow as pa

from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.report import figures
from clip_adapter.report.figures import DOCUMENT, DPI, PAGE, Figure, Style
from clip_adapter.report.results import CLIP_ADAPTER, ZERO_SHOT, Row, configuration_of, is_oracle
from clip_adapter.report.statements import statement
from clip_adapter.report.studies import read_studies
from clip_adapter.runs import RunDatabase, RunStoreError, connect, with_names
from clip_adapter.settings import Settings
from clip_adapter.shots import shots_in_words
from feature_cache import Location, storage

__all__ = (
    "DOCUMENT",
    "DPI",
    "FIGURES",
    "PAGE",
    "Figure",
    "Style",
    "accuracy",
    "base_to_new",
    "champions",
    "checked_path",
    "confusion",
    "features",
    "per_class_change",
    "reliability",
    "save",
    "study",
)

_ENCODERS = """
SELECT dataset, encoder, list(DISTINCT model) AS models FROM runs WHERE status = 'completed'
GROUP BY dataset, encoder ORDER BY max(started_at) DESC, encoder
"""


def accuracy(
    dataset: str,
    *,
    model: str | None = None,
    methods: Sequence[str] | None = None,
    highlight: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Accuracy against the number of labelled images a class, with 95 % intervals over seeds.

    Args:
        dataset: name of a dataset in the store.
        model: model of the encoder, or eight digits of its fingerprint; the one that trained last when
            None.
        methods: names of the methods, as tables show them; all when None.
        highlight: those at full contrast; clip-adapter and the best one when None.
        shots: numbers of shots; all when None. Methods without shots are always drawn.
        root: folder or URL of the store; CLIP_ADAPTER_ROOT when None, and ./clip-adapter-store when that
            is not set.
        style: size and colours.
        title: title above the figure.

    Raises:
        RunStoreError: there is no store, or no completed run.
        UnknownNameError: there is no such dataset, model or method; the message suggests the nearest.
        DataError: no method has a run at these shots.
    """
    with connect(_place(root)) as database:
        rows = _leaderboard(database, dataset, model)
    rows = _of_methods(rows, methods)
    _check_shots(shots, rows)
    if highlight is not None:
        for name in highlight:
            _check_method(name, rows)
    else:
        honest = [row for row in rows if not is_oracle(row["method"])] or rows
        highlight = [CLIP_ADAPTER, max(honest, key=lambda row: row["accuracy_mean"])["name"]]
    shown = [row for row in rows if shots is None or row["shots"] in {0, *shots}]
    names = [
        row["name"] for name in highlight for row in shown if name in {row["name"], row["method"]}
    ]
    return figures.accuracy(shown, highlight=list(dict.fromkeys(names)), style=style, title=title)


def base_to_new(
    dataset: str,
    *,
    model: str | None = None,
    methods: Sequence[str] | None = None,
    shots: Sequence[int] | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Accuracy on base classes, on new ones, and their harmonic mean; arguments as for `accuracy`.

    Raises:
        RunStoreError: there is no store, or no run of this protocol.
        UnknownNameError: there is no such dataset, model or method; the message suggests the nearest.
    """
    with connect(_place(root)) as database:
        encoder = _encoder(database, dataset, model)
        found = database.query(
            "FROM base_to_new_means WHERE dataset = $dataset AND encoder = $encoder",
            {"dataset": dataset, "encoder": encoder},
        )
        rows = with_names(database, found.to_pylist())
    if not rows:
        raise RunStoreError(
            f"{dataset!r} has no runs on base and new classes: run `clip-adapter train {dataset} "
            "--protocol base-to-new`"
        )
    shown = [row for row in _of_methods(rows, methods) if shots is None or row["shots"] in shots]
    return figures.base_to_new(shown, style=style, title=title)


def per_class_change(
    dataset: str,
    *,
    model: str | None = None,
    method: str | None = None,
    shots: int | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Recall of each class by zero-shot and by a method, the worst change first.

    Args:
        dataset: name of a dataset in the store.
        model: model of the encoder, or eight digits of its fingerprint; the one that trained last when
            None.
        method: name of the method, as tables show it; when None the champion's, else clip-adapter, else the one
            with the most runs.
        shots: number of shots; the largest one with a run when None.
        root: folder or URL of the store, as for `accuracy`.
        style: size and colours.
        title: title above the figure.

    Raises:
        RunStoreError: there is no store, no completed run, or none of zero-shot.
        UnknownNameError: there is no such dataset, model, method or number of shots.
    """
    with connect(_place(root)) as database:
        board = _leaderboard(database, dataset, model)
        values = _configuration(database, board, method, shots)
        if values["method"] == ZERO_SHOT:
            raise RunStoreError(
                f"{dataset!r} has zero-shot alone, or it was named: expected another method to compare with it, as "
                f"`clip-adapter train {dataset}` trains"
            )
        zero_shot = [row for row in board if row["method"] == ZERO_SHOT]
        rows = []
        if zero_shot:
            baseline, settings, choice = configuration_of(max(zero_shot, key=_recency))
            values |= {
                "baseline": baseline,
                "baseline_settings": settings,
                "baseline_choice": choice,
            }
            rows = database.query(statement("per-class", **values)).to_pylist()
    if not rows:
        raise RunStoreError(
            f"{dataset!r} has no run of zero-shot to compare with: run `clip-adapter train {dataset} "
            "--methods zero-shot`"
        )
    return _named(figures.per_class_change(rows, style=style, title=title), values)


def confusion(
    dataset: str,
    *,
    model: str | None = None,
    method: str | None = None,
    shots: int | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Shares of the images of the most confused classes; arguments as for `per_class_change`.

    Raises:
        RunStoreError: there is no store, or no completed run.
        UnknownNameError: there is no such dataset, model, method or number of shots.
        DataError: no image is classified wrongly.
    """
    with connect(_place(root)) as database:
        values = _configuration(database, _leaderboard(database, dataset, model), method, shots)
        rows = database.query(statement("confusion", **values)).to_pylist()
    return _named(figures.confusion(rows, style=style, title=title), values)


def reliability(
    dataset: str,
    *,
    model: str | None = None,
    method: str | None = None,
    shots: int | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Accuracy against confidence, before and after temperature scaling; arguments as for `per_class_change`.

    Raises:
        RunStoreError: there is no store, or no completed run.
        UnknownNameError: there is no such dataset, model, method or number of shots.
    """
    with connect(_place(root)) as database:
        values = _configuration(database, _leaderboard(database, dataset, model), method, shots)
        rows = database.query(statement("reliability", **values)).to_pylist()
    return _named(figures.reliability(rows, style=style, title=title), values)


def features(
    dataset: str,
    *,
    classifier: str | None = None,
    model: str | None = None,
    max_images: int = 1000,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Image and text features before and after the adapter, on the same two principal components.

    Args:
        dataset: name of a dataset in the store.
        classifier: `champion:DATASET` or `run:ID`; when None, the champion where it adapts image
            features, else the last run of clip-adapter, which is fitted again from stored features.
        model: model of the encoder of that run, where none is named.
        max_images: largest number of test images.
        root: folder or URL of the store, as for `accuracy`.
        style: size and colours.
        title: title above the figure.

    Raises:
        RunStoreError: there is no store, or no classifier that adapts image features.
        UnknownNameError: there is no such dataset or run; the message suggests the nearest.
        DataError: the classifier does not change image features.
        NotStoredError: the images have no stored features.
    """
    place = _place(root)
    with connect(place) as database:
        _encoder(database, dataset, model)
    from clip_adapter.pipeline.adapted_features import (  # noqa: PLC0415  # imports torch
        adapted_features,
    )

    points = adapted_features(
        dataset, classifier=classifier, model=model, root=place, max_images=max_images
    )
    return figures.features(points.to_pylist(), style=style, title=title)


def study(
    dataset: str,
    name: str | None = None,
    *,
    model: str | None = None,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """Accuracy against the setting that an ablation varies.

    Args:
        dataset: name of a dataset in the store.
        name: name of the study, as residual-ratio; the only one when None.
        model: model of the encoder, or eight digits of its fingerprint; the one that trained last when
            None.
        root: folder or URL of the store, as for `accuracy`.
        style: size and colours.
        title: title above the figure.

    Raises:
        RunStoreError: there is no store, or no study of the dataset.
        UnknownNameError: there is no such dataset, model or study; the message suggests the nearest.
        ParameterError: there are several studies, and none is named.
    """
    place = _place(root)
    with connect(place) as database:
        encoder = _encoder(database, dataset, model)
    found = read_studies(place, dataset=dataset, encoder=encoder)
    names = list(dict.fromkeys(each.name for each in found))
    if not found:
        raise RunStoreError(
            f"{dataset!r} has no study: run `clip-adapter reproduce residual-ratio {dataset}`"
        )
    if name is None:
        if len(names) > 1:
            raise ParameterError(
                f"{dataset!r} has the studies {', '.join(names)}: name one (--study)"
            )
        name = names[0]
    if name not in names:
        raise UnknownNameError("study", name, names)
    chosen = max((each for each in found if each.name == name), key=lambda each: len(each.seeds))
    return figures.study(chosen, style=style, title=title)


def champions(
    dataset: str,
    *,
    root: Location | str | None = None,
    style: Style = DOCUMENT,
    title: str = "",
) -> Figure:
    """The decisions on the champion of a dataset, the latest first.

    Args:
        dataset: name of a dataset in the store.
        root: folder or URL of the store, as for `accuracy`.
        style: size and colours.
        title: title above the figure.

    Raises:
        RunStoreError: there is no store, or nothing was decided.
        UnknownNameError: there is no such dataset; the message suggests the nearest.
    """
    with connect(_place(root)) as database:
        rows = database.query(
            "FROM promotions WHERE dataset = $dataset", {"dataset": dataset}
        ).to_pylist()
        if not rows:
            _encoder(database, dataset, None)
    if not rows:
        raise RunStoreError.no_champion(dataset)
    return figures.champions(rows, style=style, title=title)


def save(chart: alt.TopLevelMixin, path: Path | str, *, dpi: int = DPI) -> Path:
    """Write a figure in one step; the suffix of the file tells the format.

    Args:
        chart: the figure.
        path: file that ends in .svg, .png, .pdf or .json; its folder is created if it is missing.
        dpi: resolution of a PNG.

    Returns:
        The absolute path of the file.

    Raises:
        ParameterError: the suffix or the resolution is none of these.
        OSError: the disk failed; a file that was there is unchanged.
    """
    target = checked_path(path)
    content = figures.encode(chart, target.suffix.casefold(), dpi=dpi)
    storage.write_atomic(target, pa.py_buffer(content))
    return target


def checked_path(path: Path | str) -> Path:
    """The absolute path of a file that `save` can write.

    Raises:
        ParameterError: the suffix is none of the formats.
    """
    target = Path(path).expanduser().resolve()
    if target.suffix.casefold() not in figures.SUFFIXES:
        found = f"ends in {target.suffix}" if target.suffix else "has no ending"
        raise ParameterError(
            f"{target.name!r:.80} {found}: a figure is a file that ends in {', '.join(figures.SUFFIXES)}"
        )
    return target


FIGURES: Mapping[str, Callable[..., Figure]] = MappingProxyType(
    {
        "accuracy": accuracy,
        "base-to-new": base_to_new,
        "per-class-change": per_class_change,
        "confusion": confusion,
        "reliability": reliability,
        "features": features,
        "study": study,
        "champions": champions,
    }
)
"""The figures by the names that `clip-adapter plot` takes."""


def _place(root: Location | str | None) -> Location:
    return Settings.of(root=None if root is None else str(root)).location


def _encoder(database: RunDatabase, dataset: str, model: str | None) -> str:
    """The fingerprint of the encoder that is named, else of the one that trained last on a dataset."""
    known = database.query(_ENCODERS).to_pylist()
    if not known:
        raise RunStoreError(
            "there are no completed runs yet: run `clip-adapter demo` or `clip-adapter train`"
        )
    datasets = sorted({row["dataset"] for row in known})
    if dataset not in datasets:
        raise UnknownNameError("dataset with runs", dataset, datasets)
    of_dataset = [row for row in known if row["dataset"] == dataset]
    for row in of_dataset:
        is_digits = model is not None and len(model) >= 8 and row["encoder"].startswith(model)
        if model is None or model in row["models"] or is_digits:
            found: str = row["encoder"]
            return found
    models = sorted({name for row in of_dataset for name in row["models"]})
    raise UnknownNameError(f"model with runs on {dataset}", str(model), models)


def _leaderboard(database: RunDatabase, dataset: str, model: str | None) -> list[dict[str, Any]]:
    """The rows of the leaderboard with the names of tables."""
    encoder = _encoder(database, dataset, model)
    found = database.query(statement("accuracy", dataset=dataset, encoder=encoder)).to_pylist()
    if not found:
        raise RunStoreError(
            f"{dataset!r} has runs of studies or other protocols alone: run `clip-adapter train {dataset}`"
        )
    return with_names(database, found)


def _check_shots(shots: Sequence[int] | None, rows: Sequence[Row]) -> None:
    known = sorted({row["shots"] for row in rows} - {0})
    for each in shots or ():
        if each not in known:
            words = [shots_in_words(number) for number in known]
            raise UnknownNameError("number of shots with runs", shots_in_words(each), words)


def _check_method(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    known = dict.fromkeys(row[column] for column in ("method", "name") for row in rows)
    if name not in known:
        raise UnknownNameError("method with runs", name, known)


def _of_methods(
    rows: Sequence[dict[str, Any]], methods: Sequence[str] | None
) -> list[dict[str, Any]]:
    if methods is None:
        return list(rows)
    if isinstance(methods, str) or not methods:
        raise ParameterError(f"methods={methods!r:.80}: expected a list of names, or None for all")
    for name in methods:
        _check_method(name, rows)
    return [row for row in rows if {row["name"], row["method"]} & {*methods}]


def _configuration(
    database: RunDatabase, rows: Sequence[Row], method: str | None, shots: int | None
) -> dict[str, str | int]:
    """The method that is named at a number of shots; of several settings, the last that ran.

    Without a name that of a report: the champion's, else clip-adapter, else the method with the most runs;
    never the highest on test images.

    Returns:
        The values by which statements find it.
    """
    if method is None:
        champion = _champion(database, rows)
        if champion and shots in {None, champion["shots"]}:
            return champion
        counts: Counter[str] = Counter()
        for row in rows:
            counts[row["method"]] += 0 if is_oracle(row["method"]) else row["seeds"]
        most = max(counts, key=lambda name: (counts[name], name))
        method = CLIP_ADAPTER if CLIP_ADAPTER in counts else most
    _check_method(method, rows)
    of_method = [row for row in rows if method in {row["name"], row["method"]}]
    numbers = sorted({row["shots"] for row in of_method})
    if shots is None:
        shots = numbers[-1]
    if shots not in numbers:
        words = [shots_in_words(number) for number in numbers]
        raise UnknownNameError(f"number of shots of {method}", shots_in_words(shots), words)
    return _values(max((row for row in of_method if row["shots"] == shots), key=_recency))


def _values(row: Row) -> dict[str, str | int]:
    name, settings, choice = configuration_of(row)
    where = {"dataset": row["dataset"], "encoder": row["encoder"], "shots": row["shots"]}
    return {**where, "method": name, "settings": settings, "choice": choice}


def _champion(database: RunDatabase, rows: Sequence[Row]) -> dict[str, str | int] | None:
    """The champion's settings, where they are on the leaderboard of this encoder."""
    where = {"dataset": rows[0]["dataset"], "encoder": rows[0]["encoder"]}
    for champion in database.query(statement("champion")).to_pylist():
        if (champion["dataset"], champion["encoder"]) == (where["dataset"], where["encoder"]):
            run = statement("champion-settings", **where, run=champion["run_id"])
            for found in database.query(run).to_pylist():
                values = _values({**found, **where})
                if any(_values(row) == values for row in rows):
                    return values
    return None


def _named(chart: Figure, values: Mapping[str, str | int]) -> Figure:
    """A figure that says which method it shows."""
    chart.description = f"{values['method']} at {shots_in_words(int(values['shots']))}"
    return chart


def _recency(row: Row) -> tuple[Any, ...]:
    return row["last_run"], row["settings_fingerprint"], row["image_choice"]
