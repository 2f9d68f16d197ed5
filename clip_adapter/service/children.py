"""The processes of a service: started, started again when they die, ended."""

import logging
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Child", "Starter"]

LOG_BYTES = 10_000_000
"""A larger log begins anew when its process does; the one before stays."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
SOUND_SECONDS = 60.0
"""Whoever lived so long died of something new: the next pause is short again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Starter:
    """How processes of a service are started.

    Attributes:
        folder: In which they run: the checkout.
        descriptor: Of the file that the supervisor holds, and they with it.
    """

    folder: Path
    descriptor: int

    def start(self, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a command in the supervisor's process group; its output goes to the log."""
        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # our own words
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self.descriptor,),
            )


@dataclass
class Child:
    """A process that is meant to run for as long as the service.

    Attributes:
        name: Of the log lines about it.
        command: What is run.
        log: Where its output goes.
        starter: How it is started.
    """

    name: str
    command: list[str]
    log: Path
    starter: Starter
    _process: "subprocess.Popen[bytes] | None" = None
    _started: float = 0.0
    _due: float = 0.0
    _pause_seconds: float = field(default=FIRST_PAUSE_SECONDS)

    @property
    def pid(self) -> int | None:
        """Its process id; None of one that does not run."""
        return self._process.pid if self._process is not None else None

    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._process is not None and self._process.poll() is None

    def look_after(self) -> None:
        """Start it if it does not run; after a death with a pause, each longer than the last."""
        if self.is_running():
            return
        now = time.monotonic()
        if self._process is not None:
            self._note_death(now)
        if now >= self._due:
            self._process = self.starter.start(self.command, self.log)
            self._started = now
            logger.info("%s: process %d", self.name, self._process.pid)

    def end(self, *, patience_seconds: float) -> None:
        """Ask it to end, and make it if it does not."""
        if self._process is None:
            return
        for ask in (self._process.terminate, self._process.kill):
            if self.is_running():
                ask()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience_seconds)
        logger.info("%s: ended", self.name)

    def _note_death(self, now: float) -> None:
        assert self._process is not None  # noqa: S101  # for the type checker
        if now - self._started > SOUND_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        logger.warning(
            "%s: ended with %s, see %s; again in %.0f s",
            self.name,
            self._process.returncode,
            self.log,
            self._pause_seconds,
        )
        self._process = None
        self._due = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
