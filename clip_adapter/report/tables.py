"""The tables of a report, as rows of text."""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clip_adapter.report.interpretation import PairwiseComparison
from clip_adapter.report.numbers import Mean, percent, plain, points, probability
from clip_adapter.report.results import DatasetResults, MethodSeries
from clip_adapter.runs import PairedDifference
from clip_adapter.shots import shots_in_words

MOST_VALUES = 5
"""Largest number of chosen values that are listed; more are shown as their median and range."""
PROTOCOLS = {"domain-shift": "domain shift", "cross-dataset": "cross-dataset"}
"""Protocols of a test on another dataset as tables show them."""


class Bold(str):
    """Text of a cell that stands out."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows and columns, which is escaped where it is shown.

    Attributes:
        header: name of each column.
        rows: cells of each row, as many as there are columns.
        n_words: number of columns, from the left, with words; the others have numbers.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_words: int = 1

    @property
    def alignment(self) -> tuple[str, ...]:
        """Alignment of each column in Markdown."""
        return tuple(":--" if place < self.n_words else "--:" for place in range(len(self.header)))


def accuracy_table(series: Sequence[MethodSeries]) -> Table:
    """Methods x shots: test accuracy in percent with its interval, best of each column bold."""
    return grid(
        {
            each.name: {shots: each.mean("accuracy", shots) for shots in each.shots}
            for each in series
        },
        heading="method",
    )


def grid(means: Mapping[str, Mapping[int, Mean | None]], *, heading: str) -> Table:
    """Names x shots: percent with intervals, the highest mean of each column bold."""
    shots = sorted({each for row in means.values() for each in row})
    best = {
        each: max(mean.value for row in means.values() if (mean := row.get(each)) is not None)
        for each in shots
    }
    rows = [
        (name, *(_cell(row.get(each), best=best[each]) for each in shots))
        for name, row in means.items()
    ]
    return Table(header=(heading, *map(shots_in_words, shots)), rows=tuple(rows))


def datasets_table(results: Sequence[DatasetResults]) -> tuple[Table, int] | None:
    """Methods x datasets: test accuracy in percent, and its mean over the datasets where a method has all.

    Returns:
        The table and its number of shots, the largest that all datasets have; None where they have none in
        common, or use several encoders.
    """
    common = set.intersection(*({n for one in each.series for n in one.shots} for each in results))
    if not common - {0} or len({each.encoder for each in results}) > 1:
        return None
    shots = max(common)
    means: dict[str, dict[str, Mean]] = {}
    for each in results:
        for one in each.series:
            mean = one.mean("accuracy", shots if one.uses_shots else 0)
            if mean is not None:
                means.setdefault(one.name, {})[each.dataset] = mean
    datasets = [each.dataset for each in results]
    averages = {
        name: statistics.fmean(mean.value for mean in of_one.values())
        for name, of_one in means.items()
        if len(of_one) == len(datasets)
    }
    best = {
        dataset: max(found[dataset].value for found in means.values() if dataset in found)
        for dataset in datasets
    }
    highest = max(averages.values(), default=None)
    rows = [
        (
            name,
            *(_cell(of_one.get(dataset), best=best[dataset]) for dataset in datasets),
            _cell(Mean(averages[name], None), best=highest or 0.0) if name in averages else "",
        )
        for name, of_one in means.items()
    ]
    return Table(header=("method", *datasets, "mean"), rows=tuple(rows)), shots


def choices_table(series: Sequence[MethodSeries]) -> Table:
    """The values that were chosen by a grid or learned, in the order of seeds, and the data."""
    shots = _shots(series)
    rows = [
        (each.name, _selected_on(each), name.replace("_", " "), *_values(each, name, shots))
        for each in series
        for name in _chosen_names(each) or [""]
    ]
    header = ("method", "chosen on", "what", *map(shots_in_words, shots))
    return Table(header=header, rows=tuple(rows), n_words=3)


def comparison_table(comparisons: Sequence[PairwiseComparison]) -> Table:
    """The reference against every other method, one row for each number of shots."""
    rows = [
        (
            comparison.baseline,
            shots_in_words(comparison.shots),
            paired.verdict,
            points(paired.difference),
            f"{points(paired.low)} to {points(paired.high)}",
            probability(paired.adjusted_p_value),
            probability(paired.p_value),
            f"{paired.n_seeds_ahead} of {len(paired.seed_differences)}{_only(paired)}",
            f"{paired.wins:,} / {paired.ties:,} / {paired.losses:,}",
        )
        for comparison in comparisons
        for paired in [comparison.paired]
    ]
    header = (
        *("against", "shots", "verdict", "difference", "95 % interval"),
        *("adjusted p", "p", "seeds ahead", "wins / ties / losses"),
    )
    return Table(header=header, rows=tuple(rows), n_words=3)


def _only(paired: PairedDifference) -> str:
    """What the number of seeds does not show: that they are no different draws."""
    return " (same images)" if paired.same_training_images else ""


def calibration_table(series: Sequence[MethodSeries]) -> Table:
    """Methods x shots: calibration error, that after temperature scaling, and the temperature.

    The second column names the images that the temperature was fitted on.
    """

    def cell(one: MethodSeries, shots: int) -> str:
        names = ("ece", "ece_calibrated", "temperature")
        before, after, temperature = (one.mean(name, shots) for name in names)
        if before is None:
            return ""
        if after is None or temperature is None:
            return f"{100 * before.value:.1f}"
        return f"{100 * before.value:.1f} → {100 * after.value:.1f} (T = {temperature.value:.2f})"

    table = by_shots(series, cell)
    rows = [
        (name, _calibrated_on(one), *cells)
        for one, (name, *cells) in zip(series, table.rows, strict=True)
    ]
    header = ("method", "T fitted on", *table.header[1:])
    return Table(header=header, rows=tuple(rows), n_words=2)


def _calibrated_on(series: MethodSeries) -> str:
    """The images that temperatures were fitted on: without validation images, folds of the shots."""
    names = [name for row in series.rows.values() for name in row["temperature_fitted_on"] or ()]
    return ", ".join(sorted(set(names), reverse=True))


def cost_table(series: Sequence[MethodSeries]) -> Table:
    """Methods x shots: seconds to fit one run, search included, the mean over seeds."""
    return by_shots(
        series,
        lambda one, shots: (
            f"{one.rows[shots]['seconds_train_mean']:.2f}" if shots in one.rows else ""
        ),
    )


def by_shots(series: Sequence[MethodSeries], cell: Callable[[MethodSeries, int], str]) -> Table:
    """Methods x shots: the text that `cell` returns for a series at a number of shots."""
    shots = _shots(series)
    rows = [(one.name, *(cell(one, each) for each in shots)) for one in series]
    return Table(header=("method", *map(shots_in_words, shots)), rows=tuple(rows))


def _shots(series: Sequence[MethodSeries]) -> list[int]:
    return sorted({shots for each in series for shots in each.shots})


def _cell(mean: Mean | None, *, best: float) -> str:
    if mean is None:
        return ""
    return Bold(percent(mean)) if mean.value == best else percent(mean)


def _selected_on(series: MethodSeries) -> str:
    return ", ".join(dict.fromkeys(series.rows[shots]["selected_on"] for shots in series.shots))


def _chosen_names(series: MethodSeries) -> list[str]:
    """Hyper-parameters for which a grid was tried, and others that differ between seeds."""
    return sorted({name for row in series.rows.values() for name in row["chosen"]})


def _values(series: MethodSeries, name: str, shots: Sequence[int]) -> list[str]:
    chosen = [
        series.rows[each]["chosen"].get(name, []) if each in series.rows else [] for each in shots
    ]
    return [
        _spread([json.loads(value) for value in values if value is not None]) for values in chosen
    ]


def _spread(values: Sequence[float | str]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(values) <= MOST_VALUES or len(numbers) < len(values):
        return ", ".join(map(plain, values))
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{plain(middle)} ({plain(low)} to {plain(high)})"


def base_to_new_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each method and number of shots: both halves, and their harmonic mean.

    Args:
        rows: rows of the view `base_to_new_means` with a `name`, of one dataset and encoder.
    """
    return Table(
        header=("method", "shots", "base", "new", "harmonic mean"),
        rows=tuple(
            (
                row["name"],
                shots_in_words(row["shots"]),
                *(_percent(row, score) for score in ("base", "new", "harmonic_mean")),
            )
            for row in rows
        ),
        n_words=2,
    )


def shift_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One row for each target dataset, method and number of shots: accuracy on source and target.

    Args:
        rows: rows of the view `shift_means` with a `name`, of one source and encoder.
    """
    return Table(
        header=("target", "protocol", "method", "shots", "on source", "on target"),
        rows=tuple(
            (
                row["target"],
                PROTOCOLS[row["protocol"]],
                row["name"],
                shots_in_words(row["shots"]),
                *(_percent(row, f"accuracy_{of}") for of in ("source", "target")),
            )
            for row in rows
        ),
        n_words=4,
    )


def _percent(row: Mapping[str, Any], name: str) -> str:
    """A mean over seeds in percent; empty where the row has none."""
    value, half_width = row[f"{name}_mean"], row[f"{name}_ci95"]
    same_images = row["draws"] == 1 < row["seeds"]
    return "" if value is None else percent(Mean(value, half_width, same_images=same_images))
