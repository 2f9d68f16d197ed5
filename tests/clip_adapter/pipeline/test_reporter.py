from contextlib import nullcontext
from typing import Any

import pytest

from clip_adapter.pipeline import reporter
from clip_adapter.pipeline.reporter import Reporter


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)


def test_where_nobody_looks_progress_is_a_line_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reporter().progress("encoding", total=4, unit="images") as advance:
        advance(4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("encoding: done in 0 s, ")
    assert captured.err.endswith("images/s\n")


def test_work_that_fails_does_not_claim_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Reporter().progress("work", total=1, unit="runs"):
        _ = 1 / 0
    assert capsys.readouterr().err == ""


def test_a_message_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter().log("quarantined [red]/a.jpg")
    assert capsys.readouterr().err == "quarantined [red]/a.jpg\n"


@pytest.mark.usefixtures("notebook")
@pytest.mark.parametrize(
    ("found", "shown"), [(None, ["line: work: done"]), ("ipywidgets", ["bar: work"])]
)
def test_a_notebook_shows_a_bar_if_it_can_draw_one(
    monkeypatch: pytest.MonkeyPatch, found: str | None, shown: list[str]
) -> None:
    said: list[str] = []

    def bar(description: str, **_: Any) -> Any:
        said.append(f"bar: {description}")
        return nullcontext(lambda _: None)

    monkeypatch.setattr(reporter, "find_spec", lambda _: found)
    monkeypatch.setattr(reporter, "bar", bar)
    monkeypatch.setattr(Reporter, "log", lambda _, text: said.append(f"line: {text[:10]}"))
    with Reporter().progress("work", total=1, unit="runs") as advance:
        advance(1)
    assert said == shown
