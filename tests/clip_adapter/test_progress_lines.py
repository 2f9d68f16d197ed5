"""Progress as lines for a log, and as a bar for a terminal."""

import io

import pytest
from rich.console import Console

from clip_adapter.progress import bar, lines


def terminal() -> Console:
    return Console(
        file=io.StringIO(), force_terminal=True, color_system=None, width=80, legacy_windows=False
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_long_piece_of_work_says_how_far_it_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 10.0, 10.0, 10.0, 10.0, 10.0, 20.0, 20.0, 20.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    said: list[str] = []
    with lines("encoding", total=300, unit="images", log=said.append) as advance:
        advance(50)
        advance(50)
    assert said[0] == "encoding: 33%, 10 images/s, 20 s left"
    assert said[1].startswith("encoding: done in ")


def test_work_that_fails_has_no_last_line() -> None:
    said: list[str] = []
    with (
        pytest.raises(ZeroDivisionError),
        lines("work", total=1, unit="runs", log=said.append),
    ):
        _ = 1 / 0
    assert said == []


def test_a_bar_shows_what_is_done_at_which_rate_and_no_markup() -> None:
    console = terminal()
    with bar("reading [red]x", total=4, unit="files", console=console) as advance:
        advance(2)
        advance(2)
    assert "reading [red]x" in written(console)
    assert "100 %" in written(console)
    assert "files/s" in written(console)


def test_a_bar_of_no_work_is_no_error() -> None:
    with bar("reading", total=0, unit="files", console=terminal(), transient=True):
        pass
