"""A file is held for as long as its holder lives, however that ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clip_adapter.held import HeldFile

HOLD = """
import subprocess, sys
from pathlib import Path
from clip_adapter.held import HeldFile
held = HeldFile.take(Path(sys.argv[1]), "somebody else")
if sys.argv[2:]:
    subprocess.Popen(["sleep", "60"], pass_fds=(held.descriptor,), stdout=subprocess.DEVNULL)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-c", HOLD, str(path), *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


def test_a_file_that_nobody_has_made_is_not_held(path: Path) -> None:
    assert not HeldFile.is_held(path)


def test_one_process_holds_a_file_and_says_what_for(path: Path) -> None:
    with holder(path):
        assert HeldFile.take(path, "me") is None
        assert HeldFile.is_held(path)
        assert path.read_text() == "somebody else"


def test_a_holder_that_is_killed_holds_nothing(path: Path) -> None:
    with holder(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        held = HeldFile.take(path, "me")
        assert held is not None
        assert path.read_text() == "me"
        held.release()
    assert not HeldFile.is_held(path)


def test_a_process_that_was_given_the_descriptor_holds_on(path: Path) -> None:
    with holder(path, "with a child") as process:
        process.kill()
        process.wait()
        assert HeldFile.is_held(path)
        # The group's number is still its own.
        os.killpg(process.pid, signal.SIGKILL)
        while HeldFile.is_held(path):
            pass


def test_looking_does_not_hold(path: Path) -> None:
    held = HeldFile.take(path)
    assert held is not None
    held.release()
    assert not HeldFile.is_held(path)
    again = HeldFile.take(path)
    assert again is not None
    again.release()


def test_a_link_in_the_place_of_the_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        HeldFile.take(path)
    assert not (tmp_path / "elsewhere").exists()
