"""Where progress is shown: a bar for a person at a terminal, lines and an artifact for a deployed run."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import prefect.runtime.deployment
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from rich.console import Console

from clip_adapter.printable import printable
from clip_adapter.progress import Advance, bar, lines
from tasks.progress_artifacts import progress_artifact

__all__ = ["say", "track", "warn"]


def track(description: str, *, total: float, unit: str) -> AbstractContextManager[Advance]:
    """Show how far a piece of work has come; yields a function that takes the units just done.

    On a terminal it is a bar; where nobody looks (a worker, a pipe) it is a log line every ten
    seconds, and one at the end; a deployed run shows an artifact in Prefect's UI as well.
    """
    if _in_a_deployment():
        return _both(description, total=total, unit=unit)
    console = Console(stderr=True)
    if console.is_terminal:
        return bar(description, total=total, unit=unit, console=console)
    return lines(description, total=total, unit=unit, say=say)


def say(message: str) -> None:
    """A line for the person at the terminal, or for the log of a deployed run.

    It may hold names of files: what could steer a terminal is escaped, all but line breaks.
    """
    message = printable(message, keep="\n")
    if not (_in_a_deployment() and _logged(message)):
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


def warn(message: str) -> None:
    """The same for something that went wrong and did not stop the work."""
    message = printable(message, keep="\n")
    if not _logged(message, warning=True):
        Console(stderr=True, highlight=False, soft_wrap=True).print(message, markup=False)


@contextmanager
def _both(description: str, *, total: float, unit: str) -> Iterator[Advance]:
    with (
        lines(description, total=total, unit=unit, say=say) as log,
        progress_artifact(description, total=total, unit=unit, warn=warn) as show,
    ):

        def advance(units: float) -> None:
            log(units)
            show(units)

        yield advance


def _in_a_deployment() -> bool:
    return prefect.runtime.deployment.id is not None


def _logged(message: str, *, warning: bool = False) -> bool:
    """Whether there was a run whose log could take it."""
    try:
        logger = get_run_logger()
    except MissingContextError:
        return False
    if logger.name == "null":  # whoever configured logging has switched Prefect's off
        return False
    logger.log(logging.WARNING if warning else logging.INFO, message)
    return True
