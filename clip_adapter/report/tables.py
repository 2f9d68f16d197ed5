"""The tables of a board, as rows of text."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from clip_adapter.report.lines import Line
from clip_adapter.report.numbers import Mean, percent, plain, points, probability
from clip_adapter.report.rivals import Rivalry
from clip_adapter.shots import shots_in_words

MOST_VALUES = 5
"""More chosen values than that are shown as their median and range."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Text in rows and columns; what is no Markup is made inert where it is shown.

    Attributes:
        header: one a column.
        rows: as wide as the header.
        n_words: how many columns, from the left, hold words; the others hold numbers.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_words: int = 1

    @property
    def alignment(self) -> tuple[str, ...]:
        """Markdown's word for it, one a column."""
        return tuple(":--" if place < self.n_words else "--:" for place in range(len(self.header)))


def accuracy_table(lines: Sequence[Line]) -> Table:
    """Methods x shots: test accuracy in percent with its interval, best of each column bold."""
    return grid(
        {
            line.name: {shots: line.mean("test accuracy", shots) for shots in line.shots}
            for line in lines
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


def choices_table(lines: Sequence[Line]) -> Table:
    """What chose what: the values that a grid or training arrived at, in the order of seeds."""
    shots = _shots(lines)
    rows = [
        (line.name, _selected_on(line), name.replace("_", " "), *_values(line, name, shots))
        for line in lines
        for name in _chosen_names(line) or [""]
    ]
    header = ("method", "chosen on", "what", *map(shots_in_words, shots))
    return Table(header=header, rows=tuple(rows), n_words=3)


def comparison_table(rivalries: Sequence[Rivalry]) -> Table:
    """The reference against every other method, a row a number of shots."""
    rows = [
        (
            rivalry.rival,
            shots_in_words(rivalry.shots),
            points(paired.difference),
            f"{points(paired.low)} to {points(paired.high)}",
            f"{paired.n_seeds_ahead} of {len(paired.seed_differences)}",
            f"{paired.wins:,} / {paired.ties:,} / {paired.losses:,}",
            probability(paired.p_value),
            paired.verdict,
        )
        for rivalry in rivalries
        for paired in [rivalry.comparison.paired]
    ]
    header = (
        *("against", "shots", "difference", "95 % interval", "seeds ahead"),
        *("wins / ties / losses", "p", "verdict"),
    )
    return Table(header=header, rows=tuple(rows), n_words=1)


def calibration_table(lines: Sequence[Line]) -> Table:
    """Methods x shots: calibration error, after the temperature, and that temperature."""

    def cell(line: Line, shots: int) -> str:
        names = ("test ece", "test ece_calibrated", "test temperature")
        before, after, temperature = (line.mean(name, shots) for name in names)
        if before is None:
            return ""
        if after is None or temperature is None:
            return f"{100 * before.value:.1f}"
        return f"{100 * before.value:.1f} → {100 * after.value:.1f} (T = {temperature.value:.2f})"

    return by_shots(lines, cell)


def cost_table(lines: Sequence[Line]) -> Table:
    """Methods x shots: seconds to fit one run, search included, the mean over seeds."""

    def cell(line: Line, shots: int) -> str:
        runs = line.at(shots)
        return f"{statistics.fmean(run.seconds_train for run in runs):.2f}" if runs else ""

    return by_shots(lines, cell)


def by_shots(lines: Sequence[Line], cell: Callable[[Line, int], str]) -> Table:
    """Methods x shots: whatever `cell` says of a line at some shots."""
    shots = _shots(lines)
    rows = [(line.name, *(cell(line, each) for each in shots)) for line in lines]
    return Table(header=("method", *map(shots_in_words, shots)), rows=tuple(rows))


def _shots(lines: Sequence[Line]) -> list[int]:
    return sorted({shots for line in lines for shots in line.shots})


def _cell(mean: Mean | None, *, best: float) -> str:
    if mean is None:
        return ""
    text = percent(mean)
    return Markup("**{}**").format(text) if mean.value == best else text


def _selected_on(line: Line) -> str:
    return ", ".join(dict.fromkeys(run.selected_on for run in line.runs))


def _chosen_names(line: Line) -> list[str]:
    """Hyper-parameters a grid was tried for, and those that differ between seeds all the same."""
    tried = {name for run in line.runs for name in run.chosen}
    differing = {
        name
        for shots in line.shots
        for name in line.runs[0].settings
        if len({run.settings.get(name) for run in line.at(shots)}) > 1
    }
    return sorted(tried | differing)


def _values(line: Line, name: str, shots: Sequence[int]) -> list[str]:
    return [
        _spread([run.settings[name] for run in line.at(each) if name in run.settings])
        for each in shots
    ]


def _spread(values: Sequence[float | str]) -> str:
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(values) <= MOST_VALUES or len(numbers) < len(values):
        return ", ".join(map(plain, values))
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"{plain(middle)} ({plain(low)} to {plain(high)})"
