"""Start a service, read its state, stop it: for a process outside the service."""

import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from clip_adapter.errors import UnavailableError
from clip_adapter.file_lock import FileLock
from service.environment import write_shell_file
from service.folder import HOST, LOCKED_BY_ANOTHER, ServiceFolder, StatusFile

POLL_SECONDS = 0.1
TERMINATE_SECONDS, KILL_SECONDS = 60.0, 10.0


@dataclass(frozen=True)
class State:
    """State of a service of which at least one process runs.

    Attributes:
        status: last status that the supervisor wrote.
        is_supervised: whether the supervisor is alive; its children may outlive it.
    """

    status: StatusFile
    is_supervised: bool

    @property
    def is_up(self) -> bool:
        """Whether the startup is complete and the supervisor alive."""
        return self.is_supervised and self.status.stage == "up"


def state_of(folder: ServiceFolder) -> State | None:
    """Read the state of a service; None if none of its processes runs.

    Raises:
        UnavailableError: the file is locked, but no status can be read.
    """
    if not FileLock.is_locked(folder.lock):
        return None
    deadline = time.monotonic() + KILL_SECONDS
    while (status := folder.status()) is None:  # it is being written
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{folder.lock} is locked, but does not say by which process; the disk may be full: "
                f"look for it with `fuser {folder.lock}` and end it"
            )
        time.sleep(POLL_SECONDS)
    return State(status, is_supervised=FileLock.is_locked(folder.supervisor_lock))


def bring_up(
    folder: ServiceFolder,
    port: int,
    *,
    environment: Mapping[str, str],
    checkout: Path,
    log: Callable[[str], None],
) -> State:
    """Start a supervisor in the background and wait until the service is up.

    A running service is left alone; what outlived a dead supervisor is stopped first. If the start
    fails or is interrupted, no process stays behind.

    Args:
        folder: folder of the service.
        port: port of the server.
        environment: environment of all processes of the service.
        checkout: folder that holds `flows/` and `prefect.yaml`.
        log: function called with the name of each stage of the startup.

    Raises:
        UnavailableError: the port is taken, a step failed, or the server does not answer.
        OSError: the folder cannot be written to.
    """
    found = state_of(folder)
    if found is not None and found.is_supervised:
        return _wait(folder, None, log)
    take_down(folder)
    _check_free(port)
    write_shell_file(folder, environment)
    process = _start(folder, port, environment=environment, checkout=checkout)
    try:
        return _wait(folder, process, log)
    except BaseException:
        if process.poll() is None:
            process.terminate()  # even before it holds the folder
            process.wait(TERMINATE_SECONDS)
            take_down(folder)
        raise


def take_down(folder: ServiceFolder) -> bool:
    """Stop a service and wait until its last process has ended; False if none ran.

    Raises:
        UnavailableError: a process does not end, or the service runs on another machine.
    """
    found = state_of(folder)
    if found is None:
        return False
    _check_here(found.status)
    pid = found.status.pid
    # The system does not reuse a process id while a process group has it.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if _ends(
            folder, TERMINATE_SECONDS, unless=lambda: not FileLock.is_locked(folder.supervisor_lock)
        ):
            return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        if _ends(folder, KILL_SECONDS):
            return True
    raise UnavailableError(f"process group {pid} does not end: look at it with `ps -g {pid}`")


def _start(
    folder: ServiceFolder, port: int, *, environment: Mapping[str, str], checkout: Path
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "service.supervisor"]
    with folder.log("supervisor").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  # the command is ours
            [*command, str(folder.path), str(port), str(checkout)],
            cwd=checkout,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in this terminal is not meant for it
        )


def _wait(
    folder: ServiceFolder, process: "subprocess.Popen[bytes] | None", log: Callable[[str], None]
) -> State:
    """Wait until the service is up, passing on its stages; `process` is our own supervisor."""
    stage = ""
    while True:
        if process is not None and process.poll() is not None:
            if process.returncode != LOCKED_BY_ANOTHER:
                raise UnavailableError(_why_it_ended(folder))
            process = None  # another `up` starts it at the same time
        found = state_of(folder)
        if found is None and process is None:
            raise UnavailableError(
                "the service that another `up` was starting has ended: try again"
            )
        if found is not None and found.is_up:
            return found
        if found is not None and found.status.stage != stage:
            stage = found.status.stage
            log(stage)
        time.sleep(POLL_SECONDS)


def _why_it_ended(folder: ServiceFolder) -> str:
    log = folder.log("supervisor")
    lines = log.read_text(errors="replace").splitlines()
    end = "\n".join(lines[-20:]) or "(it is empty)"
    return f"the service could not be brought up, and nothing of it runs; {log} ends:\n{end}"


def _ends(
    folder: ServiceFolder, seconds: float, *, unless: Callable[[], bool] = lambda: False
) -> bool:
    deadline = time.monotonic() + seconds
    while FileLock.is_locked(folder.lock):
        if time.monotonic() > deadline or unless():
            return not FileLock.is_locked(folder.lock)
        time.sleep(POLL_SECONDS)
    return True


def _check_here(status: StatusFile) -> None:
    if not status.is_here:
        raise UnavailableError(
            f"the service runs on {status.host}, this is {platform.node()}: end it there"
        )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UnavailableError(
                f"port {port} of {HOST} cannot be had ({error.strerror}): another server "
                f"listens there; end it, or choose another as with `clip-adapter up --port {port + 1}`"
            ) from None
