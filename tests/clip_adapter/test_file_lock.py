"""A file is locked for as long as a process that locked it lives, however that ends."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_adapter.file_lock import FileLock

LOCK = """
import subprocess, sys
from pathlib import Path
from clip_adapter.file_lock import FileLock
lock = FileLock.acquire(Path(sys.argv[1]), "somebody else")
if sys.argv[2:]:
    subprocess.Popen(["sleep", "60"], pass_fds=(lock.descriptor,), stdout=subprocess.DEVNULL)
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def owner(path: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", LOCK, str(path), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


def test_a_missing_file_is_not_locked(path: Path) -> None:
    assert not FileLock.is_locked(path)


def test_one_process_locks_a_file_and_notes_what_for(path: Path) -> None:
    with owner(path):
        assert FileLock.acquire(path, "me") is None
        assert FileLock.is_locked(path)
        assert path.read_text() == "somebody else"


def test_a_killed_owner_releases_the_lock(path: Path) -> None:
    with owner(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        lock = FileLock.acquire(path, "me")
        assert lock is not None
        assert path.read_text() == "me"
        lock.release()
    assert not FileLock.is_locked(path)


def test_a_process_that_inherited_the_descriptor_keeps_the_lock(path: Path) -> None:
    with owner(path, "with a child") as process:
        process.kill()
        process.wait()
        assert FileLock.is_locked(path)
        # The group's number is still its own.
        os.killpg(process.pid, signal.SIGKILL)
        while FileLock.is_locked(path):
            pass


def test_asking_does_not_lock(path: Path) -> None:
    lock = FileLock.acquire(path)
    assert lock is not None
    lock.release()
    assert not FileLock.is_locked(path)
    again = FileLock.acquire(path)
    assert again is not None
    again.release()


def test_a_link_in_the_place_of_the_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        FileLock.acquire(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_told_with_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
        FileLock.acquire(path, "me")
