"""Progress with rate and time left: a bar for a person, lines for a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import prefect.runtime.deployment
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from clip_adapter.printable import printable

__all__ = ["say", "track"]

LINE_EVERY_SECONDS = 10.0
Advance = Callable[[float], None]


class RateColumn(ProgressColumn):
    """Units a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The rate of one bar."""
        return Text(_rate(task.finished_speed or task.speed or 0.0, self.unit), style="cyan")


@contextmanager
def track(description: str, *, total: float, unit: str) -> Iterator[Advance]:
    """Show how far a piece of work has come; yields a function that takes the units just done.

    On a terminal it is a bar; where nobody looks (a worker, a pipe) it is a log line every ten
    seconds, and one at the end.
    """
    console = Console(stderr=True)
    if console.is_terminal and not _in_a_deployment():
        with _bar(console, unit) as bar:
            row = bar.add_task(escape(printable(description)), total=total)
            yield lambda units: bar.advance(row, units)
    else:
        yield (lines := _Lines(description, total=total, unit=unit)).advance
        lines.close()


def say(message: str) -> None:
    """A line for the person at the terminal, or for the log of a deployed run.

    It may hold names of files: what could steer a terminal is escaped, all but line breaks.
    """
    message = printable(message, keep="\n")
    if _in_a_deployment():
        _run_logger_info(message)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def _bar(console: Console, unit: str) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        RateColumn(unit),
        TimeRemainingColumn(compact=True),
        console=console,
    )


class _Lines:
    """Progress for a log: seldom, and with everything that a bar would show."""

    def __init__(self, description: str, *, total: float, unit: str) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0.0
        self.started = self.last_line = time.monotonic()

    def advance(self, units: float) -> None:
        self.done += units
        if time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.last_line = time.monotonic()
            left = (self.total - self.done) / max(self._speed(), 1e-9)
            say(
                f"{self.description}: {self.done / self.total:.0%}, "
                f"{_rate(self._speed(), self.unit)}, {_duration(left)} left"
            )

    def close(self) -> None:
        took = _duration(time.monotonic() - self.started)
        say(f"{self.description}: done in {took}, {_rate(self._speed(), self.unit)}")

    def _speed(self) -> float:
        return self.done / max(time.monotonic() - self.started, 1e-9)


def _rate(speed: float, unit: str) -> str:
    return f"{speed:,.0f} {unit}/s" if speed >= 10 else f"{speed:.1f} {unit}/s"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _in_a_deployment() -> bool:
    return prefect.runtime.deployment.id is not None


def _run_logger_info(message: str) -> None:
    try:
        get_run_logger().info(message)
    except MissingContextError:
        Console(stderr=True).print(message, markup=False)
