"""A child that dies is started again, later and later; one that is to end does."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import children
from service.children import Child, Starter

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"
)


@pytest.fixture(name="child")
def _child(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    made: list[Child] = []
    descriptor = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)

    def child(script: str) -> Child:
        command = [sys.executable, "-c", script]
        made.append(Child("it", command, tmp_path / "it.log", Starter(tmp_path, descriptor)))
        return made[-1]

    yield child
    for each in made:
        each.end(patience_seconds=1)
    os.close(descriptor)


def until(answer: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not answer():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_child_is_started_once(child: Callable[..., Child]) -> None:
    it = child("print('x', flush=True); import time; time.sleep(60)")
    it.ensure_running()
    until(lambda: it.log.read_text() == "x\n")
    it.ensure_running()
    assert it.is_running()
    assert it.log.read_text() == "x\n"


def test_a_child_that_is_killed_is_started_again_after_a_pause(child: Callable[..., Child]) -> None:
    it = child("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    it._pause_seconds = 0.3
    it.ensure_running()
    until(lambda: it.log.read_text().endswith("\n"))
    os.kill(int(it.log.read_text()), signal.SIGKILL)
    until(lambda: not it.is_running())
    it.ensure_running()
    assert not it.is_running()
    until(lambda: it.ensure_running() or it.is_running())


def test_the_pauses_grow_up_to_a_limit(child: Callable[..., Child]) -> None:
    it = child("raise SystemExit(1)")
    pauses = []
    for _ in range(8):
        it._due = 0.0
        it.ensure_running()
        until(lambda: not it.is_running())
        pauses.append(it._pause_seconds)
        it.ensure_running()
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_who_lived_long_is_started_again_at_once(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = child("raise SystemExit(1)")
    it._pause_seconds = 60.0
    it.ensure_running()
    until(lambda: not it.is_running())
    monkeypatch.setattr(children, "STABLE_SECONDS", 0.0)
    it.ensure_running()
    assert it._due - time.monotonic() <= children.FIRST_PAUSE_SECONDS


def test_a_stubborn_child_is_killed(child: Callable[..., Child]) -> None:
    it = child(f"{STUBBORN}; time.sleep(60)")
    it.ensure_running()
    until(lambda: it.log.read_text() == "1\n")
    it.end(patience_seconds=0.3)
    assert not it.is_running()


def test_a_log_that_has_grown_large_begins_anew(
    child: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "LOG_BYTES", 10)
    it = child("print('new')")
    it.log.write_text("a long story\n")
    it.ensure_running()
    until(lambda: it.log.read_text() == "new\n")
    assert it.log.with_suffix(".log.1").read_text() == "a long story\n"
