"""How far a piece of work has come, live in Prefect's UI, told by a thread of its own.

The work never waits for the server: one that is slow or gone costs nothing but the picture.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from clip_adapter.inert import inert
from clip_adapter.progress import Advance, duration, rate
from tasks.artifact_keys import artifact_key

__all__ = ["progress_artifact"]

FIRST_AFTER_SECONDS = 2.0
"""Work that is done by then is not worth watching."""
EVERY_SECONDS = 4.0
LAST_WORD_SECONDS = 5.0
"""How long a server may take to hear that the work has ended."""


@contextmanager
def progress_artifact(
    description: str, *, total: float, unit: str, warn: Callable[[str], None]
) -> Iterator[Advance]:
    """Show the work done in this context; yields a function that takes the units just done.

    Args:
        description: what is being done; no markup.
        total: units of work.
        unit: of the rate, as "images".
        warn: takes the reason, once, if the server does not take the artifact.
    """
    work = _Work(description, total=total, unit=unit)
    ended = Event()
    told = Thread(target=copy_context().run, args=(_tell, work, ended, warn), daemon=True)
    told.start()
    try:
        yield work.advance
        work.ending = "done"
    except BaseException:
        work.ending = "stopped"
        raise
    finally:
        ended.set()
        told.join(LAST_WORD_SECONDS)


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
        return str(inert(f"{self.description}: {', '.join(words)}"))


def _tell(work: _Work, ended: Event, warn: Callable[[str], None]) -> None:
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
        told = update_progress_artifact(shown, progress=percent, description=text)
    else:
        key = artifact_key("progress", work.description)
        told = create_progress_artifact(progress=percent, key=key, description=text)
    return cast("UUID", told)  # Prefect's types hold a coroutine possible, too
