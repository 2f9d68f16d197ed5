"""The benchmark of the results database asks both sides the same questions of the same store."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from benchmarks.bulk_store import IMAGES, METRICS, SWEEP, copy_runs, put_store
from benchmarks.machine import describe_machine
from benchmarks.records import Figures, write_page
from benchmarks.results_database import MLFLOW, QUESTIONS, _beside_mlflow
from benchmarks.results_database_sides import (
    AGAIN,
    BOARD,
    COMPARED,
    OPENING,
    ask_in_turn,
    differing_answers,
)
from clip_adapter.runs import query


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps, one of each of two methods."""
    root = tmp_path_factory.mktemp("bulk")
    put_store(root, runs=2 * SWEEP)
    return root


def test_both_sides_answer_alike(store: Path) -> None:
    assert differing_answers(store, questions=tuple(COMPARED)) == []


def test_a_different_answer_is_found(store: Path, tmp_path: Path) -> None:
    copy_runs(store, to=tmp_path, runs=2 * SWEEP)
    (file,) = (tmp_path / "runs" / "metrics").iterdir()
    # Whose name is no digest, so that the views do not read it.
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            f"COPY (SELECT * REPLACE (value + 1 AS value) FROM '{file}') "
            f"TO '{file.with_name('other.parquet')}'"
        )
    assert differing_answers(tmp_path, questions=(BOARD,)) == [BOARD]


def test_batches_hold_the_same_runs_as_few_files(store: Path, tmp_path: Path) -> None:
    put_store(tmp_path, runs=2 * SWEEP, batches=4)
    tables = ("runs", "metrics", "predictions", "splits", "requests")
    assert {len(list((tmp_path / "runs" / each).iterdir())) for each in tables} == {4}
    counts = [
        query(root, f"SELECT count(*) AS n FROM {table}").to_pylist()[0]["n"]
        for root in (store, tmp_path)
        for table in ("runs", "metrics", "predictions")
    ]
    assert counts == 2 * [2 * SWEEP, 2 * SWEEP * len(METRICS), 2 * SWEEP * IMAGES]


def test_every_question_has_seconds_and_a_peak(store: Path) -> None:
    asked = ask_in_turn(store, side="views", questions=QUESTIONS)
    assert list(asked.seconds) == list(asked.peaks) == [OPENING, *QUESTIONS]
    assert asked.peaks[AGAIN] >= asked.peaks[BOARD] > 0


def test_without_mlflow_the_line_says_so(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MLFLOW, raising=False)
    found = _beside_mlflow(store, tmp_path, runs=SWEEP)
    assert found.ratio is None
    assert (
        found.line
        == f"MLflow was not measured: set {MLFLOW} to the Python of an environment that has it"
    )


def test_a_failing_mlflow_says_why(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MLFLOW, sys.executable)
    has_mlflow = subprocess.run(
        [sys.executable, "-c", "import mlflow"], check=False, capture_output=True
    )
    if has_mlflow.returncode == 0:
        pytest.skip("this environment has MLflow")
    with pytest.raises(RuntimeError, match="No module named 'mlflow'"):
        _beside_mlflow(store, tmp_path, runs=SWEEP)


def test_a_page_has_the_machine_and_stands_beside_other_figures(tmp_path: Path) -> None:
    figures = Figures(name="some_thing", about="", page="# Some thing\n")
    path = write_page(tmp_path / "figures.json", figures, describe_machine())
    assert path == tmp_path / "benchmarks-some-thing.md"
    assert path.read_text().startswith("# Some thing\n\nMachine: ")
