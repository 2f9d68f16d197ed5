"""Bring a service up, ask how it is, take it down: from another process than its own."""

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

from clip_adapter.held import HeldFile
from clip_adapter.loopback import HOST
from clip_adapter.service.environment import write_shell_file
from clip_adapter.service.errors import ServiceError
from clip_adapter.service.folder import HELD_BY_ANOTHER, Note, ServiceFolder

__all__ = ["State", "bring_up", "state_of", "take_down"]

POLL_SECONDS = 0.1
POLITE_SECONDS, HARD_SECONDS = 60.0, 10.0


@dataclass(frozen=True)
class State:
    """How a service is.

    Attributes:
        note: What its supervisor says.
        is_supervised: Whether the supervisor lives; what it started may outlive it.
    """

    note: Note
    is_supervised: bool

    @property
    def is_up(self) -> bool:
        """Whether everything was set up and is looked after."""
        return self.is_supervised and self.note.stage == "up"


def state_of(folder: ServiceFolder) -> State | None:
    """The state of a service of which something lives; None of one that is down.

    Raises:
        ServiceError: Something lives and does not say what.
    """
    if not HeldFile.is_held(folder.lock):
        return None
    deadline = time.monotonic() + HARD_SECONDS
    while (note := folder.note()) is None:  # it is being written
        if time.monotonic() > deadline:
            raise ServiceError(
                f"{folder.lock} is held, but does not say by which process; the disk may be full: "
                f"look for it with `fuser {folder.lock}` and end it"
            )
        time.sleep(POLL_SECONDS)
    return State(note, is_supervised=HeldFile.is_held(folder.supervisor_lock))


def bring_up(
    folder: ServiceFolder,
    port: int,
    *,
    environment: Mapping[str, str],
    checkout: Path,
    say: Callable[[str], None],
) -> State:
    """Start a supervisor in the background and wait until everything is up.

    One that is up already is left alone; what outlived a supervisor is ended first. If this fails
    or is interrupted, nothing stays behind.

    Args:
        folder: Of the service.
        port: Of the server.
        environment: Of all its processes.
        checkout: The folder that holds `flows/` and `prefect.yaml`.
        say: Takes what is being done, once for each stage.

    Raises:
        ServiceError: The port is taken, a step failed, or the server does not answer.
        OSError: The folder cannot be written to.
    """
    found = state_of(folder)
    if found is not None and found.is_supervised:
        return _wait(folder, None, say)
    take_down(folder)
    _check_free(port)
    write_shell_file(folder, environment)
    process = _start(folder, port, environment=environment, checkout=checkout)
    try:
        return _wait(folder, process, say)
    except BaseException:
        if process.poll() is None:
            process.terminate()  # even before it holds the folder
            process.wait(POLITE_SECONDS)
            take_down(folder)
        raise


def take_down(folder: ServiceFolder) -> bool:
    """End a service and wait until all of it has ended; whether there was anything to end.

    Raises:
        ServiceError: Something of it does not end.
    """
    found = state_of(folder)
    if found is None:
        return False
    _check_here(found.note)
    pid = found.note.pid
    # The number of a process is not given away while a process group has it.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        if _ends(
            folder, POLITE_SECONDS, unless=lambda: not HeldFile.is_held(folder.supervisor_lock)
        ):
            return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        if _ends(folder, HARD_SECONDS):
            return True
    raise ServiceError(f"process group {pid} does not end: look at it with `ps -g {pid}`")


def _start(
    folder: ServiceFolder, port: int, *, environment: Mapping[str, str], checkout: Path
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "clip_adapter.service.supervisor"]
    with folder.log("supervisor").open("wb") as log:
        return subprocess.Popen(  # noqa: S603  # our own words
            [*command, str(folder.path), str(port), str(checkout)],
            cwd=checkout,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in this terminal is not meant for it
        )


def _wait(
    folder: ServiceFolder, process: "subprocess.Popen[bytes] | None", say: Callable[[str], None]
) -> State:
    """Wait until it is up, and say what it is at; `process` is the supervisor if we started it."""
    said = ""
    while True:
        if process is not None and process.poll() is not None:
            if process.returncode != HELD_BY_ANOTHER:
                raise ServiceError(_why_it_ended(folder))
            process = None  # somebody else brings it up at the same time
        found = state_of(folder)
        if found is None and process is None:
            raise ServiceError("what was being brought up has ended meanwhile: try again")
        if found is not None and found.is_up:
            return found
        if found is not None and found.note.stage != said:
            said = found.note.stage
            say(said)
        time.sleep(POLL_SECONDS)


def _why_it_ended(folder: ServiceFolder) -> str:
    log = folder.log("supervisor")
    lines = log.read_text(errors="replace").splitlines()
    told = "\n".join(lines[-20:]) or "it said nothing"
    return f"the service could not be brought up, and nothing of it runs; {log} ends:\n{told}"


def _ends(
    folder: ServiceFolder, seconds: float, *, unless: Callable[[], bool] = lambda: False
) -> bool:
    deadline = time.monotonic() + seconds
    while HeldFile.is_held(folder.lock):
        if time.monotonic() > deadline or unless():
            return not HeldFile.is_held(folder.lock)
        time.sleep(POLL_SECONDS)
    return True


def _check_here(note: Note) -> None:
    if not note.is_here:
        raise ServiceError(
            f"the service runs on {note.host}, this is {platform.node()}: end it there"
        )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServiceError(
                f"port {port} of {HOST} cannot be had ({error.strerror}): another server is "
                f"there; end that one, or choose another as with `clip-adapter up --port {port + 1}`"
            ) from None
