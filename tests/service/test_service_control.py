"""What is up is known by a locked file, and by nothing that a dead process left behind."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clip_adapter.errors import UnavailableError
from clip_adapter.file_lock import FileLock
from service.control import bring_up, state_of, take_down
from service.folder import ServiceFolder, StatusFile

SUPERVISOR_IN_NAME = """
import os, subprocess, sys, time
from pathlib import Path
from clip_adapter.file_lock import FileLock
from service.folder import StatusFile
alone = FileLock.acquire(Path(sys.argv[2]))
lock = FileLock.acquire(Path(sys.argv[1]), StatusFile(os.getpid(), 1, "up").text())
subprocess.Popen(["sleep", "60"], pass_fds=(lock.descriptor,), stdout=subprocess.DEVNULL)
print("up", flush=True)
time.sleep(60)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> ServiceFolder:
    folder = ServiceFolder(tmp_path / "prefect")
    folder.make()
    return folder


@pytest.fixture(name="service")
def _service(folder: ServiceFolder) -> Iterator["subprocess.Popen[str]"]:
    """A process that locks the folder and has a child that inherits the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR_IN_NAME, str(folder.lock), str(folder.supervisor_lock)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        if process.poll() is None:
            process.kill()
        take_down(folder)


def test_a_service_of_another_machine_is_left_alone(folder: ServiceFolder) -> None:
    note = StatusFile(os.getpid(), 1, "up", host="elsewhere")
    lock = FileLock.acquire(folder.lock, note.text())
    assert lock is not None
    with pytest.raises(UnavailableError, match="runs on elsewhere"):
        take_down(folder)
    lock.release()


def test_nothing_is_up_where_nothing_was_started(folder: ServiceFolder) -> None:
    assert state_of(folder) is None
    assert not take_down(folder)


def test_a_number_left_behind_is_nobody_s(folder: ServiceFolder) -> None:
    """This process must survive: its number stands in the file, but nothing locks it."""
    folder.lock.write_text(StatusFile(os.getpid(), 1, "up").text())
    assert state_of(folder) is None
    assert not take_down(folder)


def test_a_service_that_lives_is_up(
    folder: ServiceFolder, service: "subprocess.Popen[str]"
) -> None:
    state = state_of(folder)
    assert state is not None
    assert (state.is_up, state.status.pid) == (True, service.pid)


def test_what_outlives_its_supervisor_is_found_and_ended(
    folder: ServiceFolder, service: "subprocess.Popen[str]"
) -> None:
    service.kill()
    service.wait()
    state = state_of(folder)
    assert state is not None
    assert not state.is_up
    assert take_down(folder)
    assert state_of(folder) is None


def test_a_port_that_is_taken_is_said_before_anything_is_started(
    folder: ServiceFolder, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"port {port} of 127.0.0.1 cannot be had"):
            bring_up(folder, port, environment={}, checkout=tmp_path, log=print)
    assert state_of(folder) is None


def test_a_supervisor_that_cannot_start_is_told_with_its_reason(
    folder: ServiceFolder, tmp_path: Path
) -> None:
    nothing = {"PATH": "", "PYTHONPATH": "", "PYTHONHOME": "/nowhere"}
    with pytest.raises(UnavailableError, match="nothing of it runs"):
        bring_up(folder, free_port(), environment=nothing, checkout=tmp_path, log=print)
