"""`cache drop` and `runs prune`: shown first, done with `--yes`, and said in words."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
Pruned = Callable[..., Any]


@pytest.fixture(name="prune")
def _prune(command: Command, root: Path) -> Pruned:
    return lambda *options: command("runs", "prune", "--root", root, "--older-than", *options)


@pytest.fixture(name="in_a_year")
def _in_a_year(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command believe that it is next year."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=365)

    monkeypatch.setattr("clip_adapter.cli.runs.datetime", Later)


@pytest.mark.usefixtures("in_a_year")
def test_old_runs_are_shown_and_then_removed(train: Command, prune: Pruned) -> None:
    train("--methods", "zero-shot,gda,clip-adapter")
    train("--methods", "clip-adapter")
    shown = prune("90d")
    assert shown.code == 0
    assert "3 runs from before" in shown.out
    assert "of that age stay 0 that decisions on champions cite and 2 that answer" in shown.out
    assert shown.out.endswith("nothing was removed: add --yes to remove it\n")
    told = json.loads(prune("90d", "--json").out)
    assert (told["dry_run"], told["runs"], told["kept_as_current"]) == (True, 3, 2)
    assert "runs" in {row["kind"] for row in told["removed"]}
    done = prune("90d", "--yes")
    assert "3 runs from before" in done.out
    assert "removed" in done.out
    assert "add --yes" not in done.out
    assert json.loads(prune("90d", "--json").out)["removed"] == []


def test_young_runs_stay(train: Command, prune: Pruned) -> None:
    train("--methods", "clip-adapter")
    assert json.loads(prune("1d", "--json").out)["runs"] == 0


@pytest.mark.parametrize("age", ["90", "d", "3m", "2026-02-30", "-1d", ""])
def test_an_age_that_is_none_is_explained(prune: Pruned, age: str) -> None:
    outcome = prune(age)
    assert outcome.code == 2
    assert "90d or" in outcome.err


def test_a_day_to_come_is_no_age(prune: Pruned) -> None:
    outcome = prune(f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}")
    assert outcome.code == 2
    assert "future" in outcome.err


def test_features_are_shown_and_then_removed(
    extract: Command, command: Command, root: Path
) -> None:
    extract()
    drop = ("cache", "drop", "--root", root, "--dataset", "photos")
    shown = command(*drop)
    assert shown.code == 0
    assert "image-features" in shown.out
    assert shown.out.endswith("nothing was removed: add --yes to remove it\n")
    assert json.loads(extract("--json").out)["encoded"] == 0
    told = json.loads(command(*drop, "--yes", "--json").out)
    assert [(row["kind"], row["rows"]) for row in told["removed"]] == [("image-features", 90)]
    assert command(*drop).out == "nothing to remove\n"
    assert json.loads(extract("--json").out)["encoded"] == 90


def test_which_features_has_to_be_said(extract: Command, command: Command, root: Path) -> None:
    extract()
    outcome = command("cache", "drop", "--root", root)
    assert outcome.code == 1
    assert "give --encoder, --dataset, or both" in outcome.err
