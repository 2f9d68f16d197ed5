"""Where progress is shown: a bar for the person at the terminal, lines for a deployed run."""

from contextlib import AbstractContextManager

import prefect.runtime.deployment
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console

from clip_adapter.printable import printable
from clip_adapter.progress import Advance, bar, lines

__all__ = ["say", "track"]


def track(description: str, *, total: float, unit: str) -> AbstractContextManager[Advance]:
    """Show how far a piece of work has come; yields a function that takes the units just done.

    On a terminal it is a bar; where nobody looks (a worker, a pipe) it is a log line every ten
    seconds, and one at the end.
    """
    console = Console(stderr=True)
    if console.is_terminal and not _in_a_deployment():
        return bar(description, total=total, unit=unit, console=console)
    return lines(description, total=total, unit=unit, say=say)


def say(message: str) -> None:
    """A line for the person at the terminal, or for the log of a deployed run.

    It may hold names of files: what could steer a terminal is escaped, all but line breaks.
    """
    message = printable(message, keep="\n")
    if _in_a_deployment():
        _run_logger_info(message)
    else:
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def _in_a_deployment() -> bool:
    return prefect.runtime.deployment.id is not None


def _run_logger_info(message: str) -> None:
    try:
        get_run_logger().info(message)
    except MissingContextError:
        Console(stderr=True).print(message, markup=False)
