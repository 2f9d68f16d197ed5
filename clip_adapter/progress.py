"""Progress with rate and time left: a bar for a terminal, lines for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from clip_adapter.escaping import escape_control_characters

LINE_EVERY_SECONDS = 10.0
Advance = Callable[[float], None]
"""Function that takes the units of work just done."""


@contextmanager
def bar(
    description: str, *, total: float, unit: str, console: Console, transient: bool = False
) -> Iterator[Advance]:
    """A bar on a terminal; yields a function that takes the units just done.

    Args:
        description: description of the work.
        total: number of units of work; 0 fills the bar at once.
        unit: name of the unit, as "images".
        console: the terminal.
        transient: remove the bar when the work is done.
    """
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        _RateColumn(unit),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=transient,
    ) as progress:
        row = progress.add_task(escape_control_characters(description), total=total)
        yield lambda units: progress.advance(row, units)


@contextmanager
def lines(
    description: str, *, total: float, unit: str, log: Callable[[str], None]
) -> Iterator[Advance]:
    """A line every ten seconds and one at the end, with the figures that a bar would show.

    Args:
        description: description of the work.
        total: number of units of work.
        unit: name of the unit, as "images".
        log: function that takes each line; work that fails has no last line.
    """
    written = _Lines(description, total=total, unit=unit, log=log)
    yield written.advance
    written.close()


class _RateColumn(ProgressColumn):
    """Units a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The rate of one bar."""
        return Text(rate(task.finished_speed or task.speed or 0.0, self.unit), style="cyan")


class _Lines:
    def __init__(
        self, description: str, *, total: float, unit: str, log: Callable[[str], None]
    ) -> None:
        self.description, self.total, self.unit, self.log = description, total, unit, log
        self.done = 0.0
        self.started = self.last_line = time.monotonic()

    def advance(self, units: float) -> None:
        self.done += units
        if time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.last_line = time.monotonic()
            left = (self.total - self.done) / max(self._speed(), 1e-9)
            self.log(
                f"{self.description}: {self.done / self.total:.0%}, "
                f"{rate(self._speed(), self.unit)}, {duration(left)} left"
            )

    def close(self) -> None:
        took = duration(time.monotonic() - self.started)
        self.log(f"{self.description}: done in {took}, {rate(self._speed(), self.unit)}")

    def _speed(self) -> float:
        return self.done / max(time.monotonic() - self.started, 1e-9)


def rate(speed: float, unit: str) -> str:
    """Units a second.

    >>> rate(1234.5, "images"), rate(0.94, "runs")
    ('1,234 images/s', '0.9 runs/s')
    """
    return f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s"


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(4.4), duration(2460), duration(10_000)
    ('4 s', '41 min 0 s', '2 h 46 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, more = divmod(minutes, 60)
    if hours:
        return f"{hours} h {more} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
