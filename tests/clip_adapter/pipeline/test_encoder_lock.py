"""One encoder at a time on a machine: whoever comes second waits, and is never left waiting."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clip_adapter.errors import ParameterError, UnavailableError
from clip_adapter.file_lock import FileLock
from clip_adapter.pipeline.encoder_lock import encoder_slot, lock_folder
from clip_adapter.pipeline.reporter import Reporter

CHECKOUT = Path(__file__).parents[3]
TAKE_A_TURN = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.reporter import Reporter
print("asks", flush=True)
with encoder_slot(sys.argv[1], Reporter()):
    print("has it", flush=True)
    sys.stdin.read()
print("done", flush=True)
"""
Encoder = "subprocess.Popen[str]"


@pytest.fixture(name="machine_folder", autouse=True)
def _machine_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of the test's own, with one encoder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("CLIP_ADAPTER_ENCODERS")
    return tmp_path


@pytest.fixture(name="start")
def _start() -> Iterator[Callable[[str], Encoder]]:
    started = []

    def start(what: str) -> Encoder:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE_A_TURN, what],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
        started.append(process)
        assert line_of(process) == "asks"
        return process

    yield start
    for process in started:
        process.kill()
        with suppress(BrokenPipeError):
            process.communicate()


def line_of(process: Encoder) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def finish(process: Encoder) -> str:
    """Let it go on; what it has said on standard error."""
    out, err = process.communicate(timeout=60)
    assert out.endswith("done\n")
    return err


def test_the_second_waits_and_says_once_for_whom(start: Callable[[str], Encoder]) -> None:
    first = start("digits with glyphs")
    assert line_of(first) == "has it"
    second = start("eurosat with glyphs")
    assert second.stderr is not None
    said = second.stderr.readline()
    finish(first)
    assert line_of(second) == "has it"
    assert "waiting for" not in finish(second)
    assert said.startswith("waiting for ")
    assert f"digits with glyphs (process {first.pid}, since 20" in said


def test_whoever_need_not_wait_says_nothing(start: Callable[[str], Encoder]) -> None:
    alone = start("digits with glyphs")
    assert line_of(alone) == "has it"
    assert finish(alone) == ""


def test_a_killed_encoder_leaves_its_place_to_the_next(start: Callable[[str], Encoder]) -> None:
    first, second = start("digits"), start("eurosat")
    assert line_of(first) == "has it"
    first.kill()
    assert line_of(second) == "has it"
    finish(second)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_waits_can_be_asked_to_end(
    start: Callable[[str], Encoder], number: signal.Signals
) -> None:
    first = start("digits")
    assert line_of(first) == "has it"
    second = start("eurosat")
    assert second.stderr is not None
    assert "waiting for digits" in second.stderr.readline()
    second.send_signal(number)
    assert second.wait(10) != 0
    finish(first)


def test_more_may_encode_at_once_where_the_environment_says_so(
    start: Callable[[str], Encoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ENCODERS", "2")
    first, second = start("digits"), start("eurosat")
    assert [line_of(first), line_of(second)] == ["has it", "has it"]
    third = start("photos")
    finish(second)
    assert line_of(third) == "has it"
    finish(third)
    finish(first)


def test_a_turn_that_fails_is_over() -> None:
    with pytest.raises(RuntimeError, match="no such model"), encoder_slot("digits", Reporter()):
        raise RuntimeError("no such model")
    assert not FileLock.is_locked(lock_folder() / "encoder-0.lock")


@pytest.mark.parametrize("value", ["0", "many", "-1"])
def test_a_number_of_encoders_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CLIP_ADAPTER_ENCODERS", value)
    with (
        pytest.raises(ParameterError, match="CLIP_ADAPTER_ENCODERS"),
        encoder_slot("x", Reporter()),
    ):
        pass


def test_a_folder_that_others_may_write_to_is_refused() -> None:
    lock_folder().chmod(0o777)
    with pytest.raises(UnavailableError, match="only you can write to"):
        lock_folder()


def test_a_link_in_the_place_of_the_folder_is_refused(machine_folder: Path) -> None:
    (machine_folder / "elsewhere").mkdir()
    (machine_folder / f"clip-adapter-{os.getuid()}").symlink_to(machine_folder / "elsewhere")
    with pytest.raises(UnavailableError):
        lock_folder()
