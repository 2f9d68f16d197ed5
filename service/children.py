"""The processes of a service: started, restarted when they die, stopped."""

import logging
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 10_000_000
"""A log larger than this is rotated when its process starts; one old file is kept."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
STABLE_SECONDS = 60.0
"""After a run of this length the pause before a restart is short again."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Starter:
    """How the processes of a service are started.

    Attributes:
        folder: Working folder of the processes: the checkout.
        descriptor: File descriptor of the lock, which they inherit and so hold as well.
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
    """A process that is to run for as long as the service.

    Attributes:
        name: Name of the process in the supervisor's log.
        command: Command line.
        log: File for its output.
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
        """Process id; None if it was not started."""
        return self._process.pid if self._process is not None else None

    def is_running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def ensure_running(self) -> None:
        """Start it if it does not run; after a death only once a pause is over, which doubles."""
        if self.is_running():
            return
        now = time.monotonic()
        if self._process is not None:
            self._record_death(self._process, now)
        if now >= self._due:
            self._process = self.starter.start(self.command, self.log)
            self._started = now
            logger.info("%s: process %d", self.name, self._process.pid)

    def end(self, *, patience_seconds: float) -> None:
        """Terminate it, and kill it if it still runs after `patience_seconds`."""
        if self._process is None:
            return
        for stop in (self._process.terminate, self._process.kill):
            if self.is_running():
                stop()
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(patience_seconds)
        logger.info("%s: ended", self.name)

    def _record_death(self, process: "subprocess.Popen[bytes]", now: float) -> None:
        if now - self._started > STABLE_SECONDS:
            self._pause_seconds = FIRST_PAUSE_SECONDS
        logger.warning(
            "%s: ended with %s, see %s; again in %.0f s",
            self.name,
            process.returncode,
            self.log,
            self._pause_seconds,
        )
        self._process = None
        self._due = now + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
