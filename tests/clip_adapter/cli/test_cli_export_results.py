"""The export-results command."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
STORE = Path(__file__).parents[2] / "golden" / "store-2"
DATASET = "imagefolder-colours-87987479"


def test_runs_become_a_folder_for_mlflow(command: Command, tmp_path: Path) -> None:
    outcome = command("export-results", "mlflow", "--to", tmp_path / "tracking", "--root", STORE)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"9 runs in {tmp_path / 'tracking'}" in outcome.out
    assert "mlflow server --backend-store-uri sqlite:///mlflow.db" in outcome.out
    with closing(sqlite3.connect(tmp_path / "tracking" / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (9,)


def test_a_leaderboard_becomes_files_or_a_table(command: Command, tmp_path: Path) -> None:
    for name in ("results", "results.csv"):
        asked = ("clip-benchmark", "--to", tmp_path / name, "--dataset", DATASET, "--json")
        outcome = command("export-results", *asked, "--root", STORE)
        assert json.loads(outcome.out) == {"path": str(tmp_path / name), "runs": 9}
    assert len(list((tmp_path / "results").iterdir())) == 9
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 10


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("mlflow", "--dataset", "colours"), "unknown dataset with runs 'colours'"),
        (("clip-benchmark", "--root", "nowhere"), "no store at"),
        (("mlflow", "--to", "."), "exists: choose another name"),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    program, *options = asked
    given = ["export-results", program, "--to", "new", "--root", STORE, *options]
    outcome = command(*given)
    assert outcome.code == 1
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []
