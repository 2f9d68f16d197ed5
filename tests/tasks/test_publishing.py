"""Nothing that is shown may stop what is done."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import publishing as published
from tasks.publishing import publish_leaderboard, publishing
from tasks.reporter import artifact_key


@given(st.text(max_size=200))
def test_a_key_is_one_that_prefect_takes(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]{1,80}", artifact_key("summary", text))


def test_long_names_that_begin_alike_have_keys_of_their_own() -> None:
    assert artifact_key("x" * 100 + "a") != artifact_key("x" * 100 + "b")


def test_what_cannot_be_published_is_a_warning_with_its_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with publishing("the summary"):
        raise ConnectionError("no\x1b[2J server")
    told = capsys.readouterr().err
    assert "the summary could not be published" in told
    assert "no\\x1b[2J server" in told


def test_ctrl_c_while_publishing_ends_the_run() -> None:
    with pytest.raises(KeyboardInterrupt), publishing("the summary"):
        raise KeyboardInterrupt


def test_a_leaderboard_without_runs_names_the_dataset_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir()
    made: dict[str, Any] = {}
    monkeypatch.setattr(published, "has_audience", lambda: True)
    monkeypatch.setattr(published, "create_table_artifact", made.update)
    publish_leaderboard.fn(root=root, dataset="digits")
    assert made["table"] == []
    assert made["description"].startswith("Test accuracy on digits in percent: ")
    assert made["description"].endswith("; no run yet.")
