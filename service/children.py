"""The processes of a service: started, restarted when they die, stopped with what they leave behind.

An orphan is a process that outlives the child which started it: a flow run leads another session,
and a server may just have started `file` or `git`.
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

LOG_BYTES = 10_000_000
"""A log larger than this is rotated when its process starts; one old file is kept."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
STABLE_SECONDS = 60.0
"""After a run of this length the pause before a restart is short again."""
MARK = "CLIP_ADAPTER_SERVED_BY"
"""Environment variable of every process below a supervisor, and of no other."""
PROCESSES = Path("/proc")
"""Linux lists the environments of processes here; on other systems no orphan is found."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Starter:
    """Starts the processes of a service.

    Attributes:
        folder: working folder of the processes, which is the checkout.
        descriptor: file descriptor of the lock, which the processes inherit.
    """

    folder: Path
    descriptor: int

    def start(self, command: list[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a command in the supervisor's process group; its output goes to the log."""
        with suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES:
                log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603  # the command is ours
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(self.descriptor,),
            )


@dataclass
class Child:
    """A process that runs as long as the service.

    Attributes:
        name: name of the process in the supervisor's log.
        command: command line.
        log: file for the output.
        starter: starter of the process.
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


def kill_orphans(mark: str, *, spared: Collection[int], patience_seconds: float) -> int:
    """Send SIGTERM, then SIGKILL, to the marked processes; returns how many there were.

    Args:
        mark: value of `MARK` in their environment.
        spared: ids of marked processes to leave alone.
        patience_seconds: seconds to wait after each signal.
    """
    n_found = len(list(_orphans(mark, spared)))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _orphans(mark, spared):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while any(_orphans(mark, spared)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return n_found


def _orphans(mark: str, spared: Collection[int]) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for path in PROCESSES.glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        # Other users' processes cannot be read, and one that has just ended is gone.
        with suppress(OSError):
            if pid not in spared and wanted in path.read_bytes().split(b"\0"):
                yield pid
