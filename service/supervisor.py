"""The background process that starts server and worker and restarts them when they die.

Run as `python -m service.supervisor FOLDER PORT CHECKOUT`; its children inherit its environment.
"""

import http.client
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from clip_adapter.errors import UnavailableError
from clip_adapter.file_lock import FileLock
from service.children import MARK, Child, Starter, kill_orphans
from service.folder import HOST, LOCKED_BY_ANOTHER, ServiceFolder, StatusFile

POLL_SECONDS = 0.2
START_SECONDS = 180.0
STEP_SECONDS = 600.0
WORKER_SECONDS, SERVER_SECONDS = 20.0, 10.0
POOL, MOST_RUNS_AT_ONCE = "local", 4
"""Concurrent runs are limited because each is a process that has loaded torch."""

logger = logging.getLogger(__name__)


def main() -> int:
    """Lock the folder and supervise until a signal arrives; returns the exit code."""
    folder, port, checkout = ServiceFolder(Path(sys.argv[1])), int(sys.argv[2]), Path(sys.argv[3])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # The lock of the supervisor comes first: a process that finds the other locked finds this locked, too.
    status = StatusFile(os.getpid(), port, "starting").text()
    if _lock(folder.supervisor_lock) is None or (lock := _lock(folder.lock, status)) is None:
        return LOCKED_BY_ANOTHER
    os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"
    supervisor = Supervisor(folder, port, lock, Starter(checkout, lock.descriptor))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, supervisor.ask_to_end)
    return supervisor.serve()


def _lock(path: Path, content: str = "") -> FileLock | None:
    """Lock a file; retried, because `is_locked` of another process holds the lock for a moment."""
    for _ in range(10):
        if lock := FileLock.acquire(path, content):
            return lock
        time.sleep(0.1)
    return None


class _Ended(Exception):  # noqa: N818  # nothing went wrong
    """A signal asked the supervisor to end."""


@dataclass
class Supervisor:
    """The server and the worker of one folder."""

    folder: ServiceFolder
    port: int
    lock: FileLock
    starter: Starter
    is_ending: bool = False
    children: list[Child] = field(default_factory=list)

    def ask_to_end(self, _number: int, _frame: FrameType | None) -> None:
        """Signal handler: end at the next opportunity."""
        self.is_ending = True

    def serve(self) -> int:
        """Start everything and keep it running; on any exit, no child stays behind."""
        try:
            self._set_up()
            while True:
                self._rest()
        except _Ended:
            return 0
        except (UnavailableError, OSError) as error:
            logger.error("%s", error)  # noqa: TRY400  # the message suffices
            return 1
        finally:
            self._end_children()

    def _set_up(self) -> None:
        python, prefect = [sys.executable], [sys.executable, "-m", "prefect"]
        self._add("server", [*prefect, "server", "start", "--host", HOST])
        self._wait_for_server()
        objects = ["-m", "tasks.server_objects", POOL, "--no-worker"]
        self._step("work pool and automations", [*python, *objects])
        self._step("deployments", [*python, "-m", "tasks.deploy_all"])
        worker = ["worker", "start", "--pool", POOL, "--type", "process", "--name", "clip-adapter"]
        self._add("worker", [*prefect, *worker, "--limit", str(MOST_RUNS_AT_ONCE)])
        self._say("up")

    def _add(self, name: str, command: list[str]) -> None:
        self._say(f"starting the {name}")
        child = Child(name, command, self.folder.log(name), self.starter)
        self.children.append(child)
        child.ensure_running()

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        log = self.folder.log("server")
        while not _answers(self.port):
            if not self.children[0].is_running():
                raise UnavailableError(
                    f"the server ended at once; the end of {log}:\n{_end_of(log)}"
                )
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"the server did not answer in {START_SECONDS:.0f} s, see {log}"
                )
            self._rest()

    def _step(self, name: str, command: list[str]) -> None:
        """Run one setup command to its end."""
        self._say(f"setting up {name}")
        log = self.folder.log("setup")
        process = self.starter.start(command, log)
        deadline = time.monotonic() + STEP_SECONDS
        try:
            while process.poll() is None and time.monotonic() < deadline:
                self._rest()
        finally:
            if process.poll() is None:
                process.terminate()  # it pauses again what it has resumed for a moment
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WORKER_SECONDS)
                process.kill()
                process.wait()
        if process.returncode:
            raise UnavailableError(f"setting up {name} failed; the end of {log}:\n{_end_of(log)}")

    def _rest(self) -> None:
        """Wait for a moment, keeping the children running."""
        if self.is_ending:
            raise _Ended
        for child in self.children:
            child.ensure_running()
        time.sleep(POLL_SECONDS)

    def _say(self, stage: str) -> None:
        logger.info("%s", stage)
        self.lock.write(StatusFile(os.getpid(), self.port, stage).text())

    def _end_children(self) -> None:
        """Stop the worker first, as it reports the runs it ends to the server."""
        with suppress(OSError):  # a full disk must not keep the children alive
            self._say("ending")
        patience = {"worker": WORKER_SECONDS, "server": SERVER_SECONDS}
        for child in reversed(self.children):
            child.end(patience_seconds=patience[child.name])
            # After the worker these are flow runs, which report their end to the server; after the
            # server, what it or a setup step had just started.
            self._kill_orphans(child.name)

    def _kill_orphans(self, name: str) -> None:
        spared = {os.getpid(), *(child.pid for child in self.children if child.pid)}
        n_ended = kill_orphans(os.environ[MARK], spared=spared, patience_seconds=WORKER_SECONDS)
        logger.info("processes that outlived the %s: %d ended", name, n_ended)


def _answers(port: int) -> bool:
    url = f"http://{HOST}:{port}/api/health"
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except (OSError, http.client.HTTPException):
        return False
    return True


def _end_of(log: Path, *, n_lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n_lines:])


if __name__ == "__main__":
    sys.exit(main())
