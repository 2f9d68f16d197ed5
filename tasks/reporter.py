"""A reporter for Prefect: writes to the run's log and to a progress artifact that the UI shows live.

The work never waits for the server: without an answer only the artifact is missing.
"""

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import cast
from uuid import UUID

import prefect.runtime.deployment
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from clip_adapter.escaping import escape_control_characters, escape_markdown
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.progress import Advance, duration, lines, rate
from tasks.flow_runs import subject

LONGEST_KEY = 80
FIRST_AFTER_SECONDS = 2.0
"""Shorter work gets no artifact."""
EVERY_SECONDS = 4.0
LAST_UPDATE_SECONDS = 5.0
"""Time that a server has for the last update."""


class PrefectReporter(Reporter):
    """Writes to the log of a deployed run; a run that a user started reports to the terminal."""

    def log(self, message: str) -> None:
        """Write a line to the log of a deployed run, else to the terminal."""
        if not (_in_a_deployment() and _logged(message)):
            super().log(message)

    def warn(self, message: str) -> None:
        """Write a warning to the log of the run, else to the terminal."""
        if not _logged(message, warning=True):
            super().warn(message)

    def progress(
        self, description: str, *, total: float, unit: str
    ) -> AbstractContextManager[Advance]:
        """Log a line every ten seconds and show an artifact, else as on a terminal."""
        if _in_a_deployment():
            return self._logged_and_shown(description, total=total, unit=unit)
        return super().progress(description, total=total, unit=unit)

    @contextmanager
    def _logged_and_shown(self, description: str, *, total: float, unit: str) -> Iterator[Advance]:
        with (
            lines(description, total=total, unit=unit, log=self.log) as add_to_log,
            progress_artifact(description, total=total, unit=unit, warn=self.warn) as show,
        ):

            def advance(units: float) -> None:
                add_to_log(units)
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
    if logger.name == "null":  # Prefect's logging is switched off
        return False
    logger.log(
        logging.WARNING if warning else logging.INFO, escape_control_characters(message, keep="\n")
    )
    return True


def artifact_key(*words: str) -> str:
    """A key of lower-case letters, digits and dashes.

    Different words have different keys: eight digits of a digest follow what a key cannot contain.

    >>> artifact_key("leaderboard", "eurosat"), artifact_key("leaderboard", "my_cats")
    ('leaderboard-eurosat', 'leaderboard-my-cats-7c450330')
    """
    text = " ".join(words)
    plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")
    if plain == text.replace(" ", "-") and len(plain) <= LONGEST_KEY:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[: LONGEST_KEY - 9]}-{digest}"


@contextmanager
def progress_artifact(
    description: str, *, total: float, unit: str, warn: Callable[[str], None]
) -> Iterator[Advance]:
    """Show the work done in this context; yields a function that takes the units just done.

    Args:
        description: description of the work.
        total: number of units of work.
        unit: name of the unit, as "images".
        warn: function that takes the reason, once, if the artifact cannot be written.
    """
    work = _Work(description, total=total, unit=unit)
    ended = Event()
    thread = Thread(target=copy_context().run, args=(_publish, work, ended, warn), daemon=True)
    thread.start()
    try:
        yield work.advance
        work.ending = "done"
    except BaseException:
        work.ending = "stopped"
        raise
    finally:
        ended.set()
        thread.join(LAST_UPDATE_SECONDS)


@dataclass
class _Work:
    description: str
    total: float
    unit: str
    done: float = 0.0
    ending: str = ""
    started: float = field(default_factory=time.monotonic)

    def advance(self, units: float) -> None:
        self.done += units

    @property
    def percent(self) -> float:
        if self.ending == "done":
            return 100.0
        return min(100.0, 100 * self.done / self.total) if self.total else 0.0

    @property
    def text(self) -> str:
        """Markdown with the rate and the time left."""
        took = max(time.monotonic() - self.started, 1e-9)
        speed = self.done / took
        words = [f"{self.done:,.0f} of {self.total:,.0f} {self.unit}", rate(speed, self.unit)]
        if self.ending:
            words.append(f"{self.ending} after {duration(took)}")
        elif speed:
            words.append(f"{duration((self.total - self.done) / speed)} left")
        return str(escape_markdown(f"{self.description}: {', '.join(words)}"))


def _publish(work: _Work, ended: Event, warn: Callable[[str], None]) -> None:
    shown: UUID | None = None
    warned = False
    while not (is_last := ended.wait(EVERY_SECONDS if shown else FIRST_AFTER_SECONDS)) or shown:
        try:
            shown = _show(work, shown)
        except Exception as error:  # noqa: BLE001  # whatever a client throws, the work goes on
            if not warned:
                warn(f"the progress of {work.description} is not shown: {error}")
            warned = True
        if is_last:
            return


def _show(work: _Work, shown: UUID | None) -> UUID:
    percent, text = work.percent, work.text
    if shown:
        artifact = update_progress_artifact(shown, progress=percent, description=text)
    else:
        key = artifact_key("progress", *subject(flow_run.parameters), work.description)
        artifact = create_progress_artifact(progress=percent, key=key, description=text)
    return cast("UUID", artifact)  # by its type, Prefect might return a coroutine
