"""The blocks of a report: each has a question that it answers, a table or a figure, and its SQL."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from clip_adapter.escaping import escape_control_characters, slug
from clip_adapter.progress import duration
from clip_adapter.report.numbers import Mean, listed
from clip_adapter.report.results import DatasetResults, MethodSeries, Row
from clip_adapter.report.tables import Table
from clip_adapter.runs import PairedDifference
from clip_adapter.shots import ALL_SHOTS, image_choice_in_words

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that a spreadsheet would compute; an apostrophe in front makes it text."""
MOST_ROWS = 2_000
"""Largest number of rows of a download; the statement gives all."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a report.

    Attributes:
        name: name of its file, without the ending.
        title: what it shows.
        draw: draws it in the style that is given as `style`.
    """

    name: str
    title: str
    draw: Callable[..., alt.TopLevelMixin]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image that was classified wrongly.

    Attributes:
        address: `data:` address of a small version; None where there is none.
        class_name: class of its label.
        predicted_name: class that it is given.
        note: probability and number of runs, in words.
        path: path of the image below the folder of its dataset, or its digest.
    """

    address: str | None
    class_name: str
    predicted_name: str
    note: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of a report.

    Attributes:
        name: name in addresses; unique in its section.
        title: what it is about.
        says: what was found, a paragraph each.
        entries: what was found, as a list.
        figure: figure, if any.
        table: table, if any.
        pictures: images, if any.
        notes: how to read it.
        sql: the statement of its rows; empty where there is none.
        rows: the rows of the statement.
        is_folded: whether the table is folded where a page can do so.
    """

    name: str
    title: str
    says: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    figure: Figure | None = None
    table: Table | None = None
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()
    sql: str = ""
    rows: Sequence[Row] = ()
    is_folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What adaptation gained: one method at one number of shots, against zero-shot.

    It is the champion where there is one, else CLIP-Adapter with the most images; never the method that
    happens to be highest on the test images.

    Attributes:
        series: the method.
        shots: labelled images a class.
        why: why this one is shown.
        accuracy: its accuracy on the test images.
        zero_shot: accuracy of zero-shot; None where it was not run.
        gain: the paired difference; None where there is none.
        n_comparisons: number of comparisons that its p-value is corrected for.
    """

    series: MethodSeries
    shots: int
    why: str
    accuracy: Mean
    zero_shot: Mean | None = None
    gain: PairedDifference | None = None
    n_comparisons: int = 0

    @property
    def images(self) -> str:
        """The labelled images in words."""
        choice = self.series.configuration.image_choice
        if choice.startswith("budget:"):
            return image_choice_in_words(choice)
        if self.shots == ALL_SHOTS:
            return "all labelled images"
        return f"{self.shots} labelled image{'s' * (self.shots != 1)} a class"

    def values(self) -> dict[str, str | int]:
        """The values that its statements take."""
        return {**settings_values(self.series), "shots": self.shots}


@dataclass(frozen=True, kw_only=True)
class Section:
    """What a report says of one dataset and encoder.

    Attributes:
        results: the results.
        headline: what was gained; None where there are only studies.
        champion: row of the champion of the dataset, whatever its encoder; None without one.
        last_decision: row of the last decision on the champion, a refusal included; None without one.
        costs: row of the view `costs`; None where no extraction is recorded.
        blocks: the blocks, in their order.
        next_steps: what to look at next, with the name of a block, the most urgent first.
        legend: sentences that explain digits in names.
    """

    results: DatasetResults
    headline: Headline | None
    champion: Row | None
    last_decision: Row | None
    costs: Row | None
    blocks: tuple[Block, ...]
    next_steps: tuple[tuple[str, str], ...] = ()
    legend: tuple[str, ...] = ()

    @property
    def champion_name(self) -> str:
        """The champion in a word, and whether it uses another encoder; none without one."""
        if not self.champion:
            return "none"
        other = self.champion["encoder"] != self.results.encoder
        return f"{self.champion['method']}{' (with another encoder)' if other else ''}"

    @property
    def name(self) -> str:
        """Name of the section in addresses."""
        return slug(f"{self.results.dataset} {self.results.encoder[:8]}")


def settings_values(series: MethodSeries) -> dict[str, str | int]:
    """The values by which statements find a method."""
    method, settings, choice = series.configuration
    return {"method": method, "settings": settings, "choice": choice}


def in_seconds(seconds: float | None) -> str:
    """A duration in words, of which one that rounds to nothing is no 0.

    >>> in_seconds(0.2), in_seconds(75)
    ('under 1 s', '1 min 15 s')
    """
    return duration(seconds) if seconds and seconds >= 0.5 else "under 1 s"


def encoding_in_words(costs: Row) -> str:
    """What was encoded and reused, with the time where the rate is known."""
    encoded = (
        f"{costs['n_encoded']:,} images encoded once, in {in_seconds(costs['seconds_encoded'])}"
    )
    if not costs["n_reused"]:
        return f"{encoded}."
    saved = f", which saved {duration(costs['seconds_saved'])}" if costs["seconds_saved"] else ""
    return f"{encoded}; stored features used again {costs['n_reused']:,} times{saved}."


def tested_in_words(about: Row) -> str:
    """The number of test images, or numbers where they differ."""
    return " or ".join(f"{n:,}" for n in about["n_test"])


def dates_in_words(about: Row) -> str:
    """The day of the runs, or the first and the last."""
    first, last = about["first_day"], about["last_day"]
    return first if first == last else f"{first} to {last}"


def commits_in_words(about: Row) -> str:
    """The commits of the code."""
    found = sorted(about["commits"], key=lambda text: (len(text), text))
    return listed(found if len(found) <= 4 else [*found[:3], f"{len(found) - 3} other commits"])


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as text for a spreadsheet: a header, and lists and maps as JSON; at most `MOST_ROWS`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_csv_cell(value) for value in row.values()] for row in rows[:MOST_ROWS])
    return text.getvalue()


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{escape_control_characters(value)}"
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, default=str)
    return f"{value:.12g}" if isinstance(value, float) else escape_control_characters(value)
