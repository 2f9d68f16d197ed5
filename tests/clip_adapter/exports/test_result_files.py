"""Results of a store in the forms of CLIP_benchmark and MLflow."""

import csv
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.exports import write_clip_benchmark, write_mlflow
from clip_adapter.runs import (
    PromotionStore,
    RunResult,
    RunStore,
    RunStoreError,
    connect,
    query,
    read_runs,
)
from feature_cache import InvalidInputError

DATASET = "imagefolder-colours-87987479"
GOLDEN = Path(__file__).parents[2] / "golden" / "store-2"
MLFLOW = "MLFLOW_PYTHON"
"""Names the Python of an environment with MLflow, for the test that opens a store with it."""
ASK_MLFLOW = """
import json, sys
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
found = {each.name: each.experiment_id for each in client.search_experiments()}
runs = client.search_runs([found[sys.argv[2]]], max_results=1000)
print(json.dumps([{
    "run_id": run.info.run_id, "status": run.info.status, "params": run.data.params,
    "metrics": run.data.metrics,
    "artifacts": [each.path for each in client.list_artifacts(run.info.run_id)],
} for run in runs]))
champion = next(run for run in runs if run.data.tags.get("promoted"))
print(open(client.download_artifacts(champion.info.run_id, "classifier.safetensors", sys.argv[3]), "rb").read().hex())
"""


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Path:
    """A copy of a store with runs, a study and a champion."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "store"))


@pytest.fixture(name="add_run")
def _add_run(store: Path) -> Callable[..., str]:
    """Add a run like the first of the store; keywords are the fields that differ."""
    with connect(store) as database:
        first = read_runs(database)[0].run
    numbers = iter(range(1000))

    def add(metrics: dict[tuple[str, str], float] | None = None, **fields: Any) -> str:
        run = replace(first, run_id=f"{next(numbers):032x}", **fields)
        RunStore(store).record([RunResult(run=run, metrics=metrics or {})])
        return run.run_id

    return add


def results_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.iterdir())]


def test_every_run_of_the_leaderboard_is_a_result(store: Path, tmp_path: Path) -> None:
    n_results = write_clip_benchmark(store, tmp_path / "results")
    found = {each["run_id"]: each for each in results_in(tmp_path / "results")}
    sql = """
        SELECT run_id, method, value FROM current_runs JOIN metrics USING (run_id)
        WHERE split = 'test' AND name = $name
    """
    accuracy = query(store, sql, {"name": "accuracy"}).to_pylist()
    recall = query(store, sql, {"name": "mean_class_recall"}).to_pylist()
    assert n_results == len(found) == len(accuracy) > 1
    for row in accuracy:
        assert found[row["run_id"]]["metrics"]["acc1"] == row["value"]
        assert found[row["run_id"]]["method"] == row["method"]
    for row in recall:
        assert found[row["run_id"]]["metrics"]["mean_per_class_recall"] == row["value"]


def test_what_is_not_recorded_is_absent(store: Path, tmp_path: Path) -> None:
    write_clip_benchmark(store, tmp_path / "results")
    for result in results_in(tmp_path / "results"):
        assert "language" not in result
        # Of its three classes all are among the first five.
        assert "acc5" not in result["metrics"]
        assert result["dataset"] == DATASET


def test_five_classes_have_a_second_accuracy(
    store: Path, add_run: Callable[..., str], tmp_path: Path
) -> None:
    added = add_run(
        {("test", "accuracy"): 0.5, ("test", "top5_accuracy"): 0.75},
        method="linear-probe",
        class_names=tuple("abcde"),
        model="ViT-B-32:openai",
        encoder="ef" * 32,
    )
    write_clip_benchmark(store, tmp_path / "results")
    found = {each["run_id"]: each for each in results_in(tmp_path / "results")}[added]
    assert found["metrics"] == {"acc1": 0.5, "acc5": 0.75}
    assert (found["model"], found["pretrained"]) == ("ViT-B-32", "openai")
    assert found["task"] == "linear_probe"


def test_a_csv_has_the_columns_of_its_build_command(store: Path, tmp_path: Path) -> None:
    n_results = write_clip_benchmark(store, tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == n_results
    names = {"acc1", "mean_per_class_recall", "dataset", "model", "pretrained", "task"}
    assert names | {"model_fullname"} <= set(rows[0])
    assert rows[0]["model_fullname"] == f"{rows[0]['model']} {rows[0]['pretrained']}"
    tasks = {row["method"]: row["task"] for row in rows}
    assert tasks["zero-shot"] == "zeroshot_classification"


def test_a_model_of_this_machine_is_named_without_its_path(
    store: Path, add_run: Callable[..., str], tmp_path: Path
) -> None:
    add_run({("test", "accuracy"): 0.5}, model="local-dir:/home/me/towers", encoder="ef" * 32)
    write_clip_benchmark(store, tmp_path / "results")
    write_mlflow(store, tmp_path / "tracking")
    models = {each["model"] for each in results_in(tmp_path / "results")}
    assert "a local model (towers)" in models
    for path in (tmp_path / "tracking" / "mlflow.db", *(tmp_path / "results").iterdir()):
        assert b"/home/me" not in path.read_bytes()


@pytest.mark.parametrize("write", [write_clip_benchmark, write_mlflow])
def test_a_refused_export_leaves_everything_as_it_was(
    write: Callable[..., int], store: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "notes").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidInputError, match=r"exists: choose another name"):
        write(store, there)
    with pytest.raises(UnknownNameError, match=DATASET):
        write(store, tmp_path / "new", datasets=[DATASET[:-1]])
    with pytest.raises(RunStoreError, match="no store at"):
        write(tmp_path / "nowhere", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunStoreError, match="clip-adapter train"):
        write(tmp_path / "empty", tmp_path / "new")
    (tmp_path / "empty").rmdir()
    with pytest.raises(InvalidInputError, match="'notes', which no such export wrote"):
        write(store, there, overwrite=True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("write", [write_clip_benchmark, write_mlflow])
def test_an_earlier_export_is_replaced(
    write: Callable[..., int], store: Path, add_run: Callable[..., str], tmp_path: Path
) -> None:
    first = write(store, tmp_path / "there")
    add_run({("test", "accuracy"): 0.5}, encoder="ef" * 32)
    assert write(store, tmp_path / "there", overwrite=True) == first + 1


def test_a_failing_disk_leaves_no_folder(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clip_adapter.exports.mlflow_store._write_metrics", fail)
    with pytest.raises(OSError, match="space"):
        write_mlflow(store, tmp_path / "tracking")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def rows_of(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return database.execute(sql).fetchall()


def test_every_run_is_in_the_tracking_store(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tracking"
    n_runs = write_mlflow(store, folder)
    runs = query(store, "SELECT run_id, status FROM runs").to_pylist()
    assert n_runs == len(runs)
    assert {
        (run_id, status) for run_id, status in rows_of(folder, "SELECT run_uuid, status FROM runs")
    } == {
        (run["run_id"], {"completed": "FINISHED", "failed": "FAILED"}[run["status"]])
        for run in runs
    }
    metrics = query(store, "SELECT run_id, split || '/' || name AS key, value FROM metrics")
    written = rows_of(folder, "SELECT run_uuid, key, value FROM metrics WHERE key LIKE '%/%'")
    curves = query(store, "SELECT run_id, 'curve/' || name AS key, value, step FROM curves")
    assert len(written) == metrics.num_rows + curves.num_rows
    expected = [*metrics.to_pylist(), *curves.to_pylist()]
    assert set(written) == {(row["run_id"], row["key"], row["value"]) for row in expected}
    steps = rows_of(folder, "SELECT run_uuid, step FROM metrics WHERE key LIKE 'curve/%'")
    assert set(steps) == {(row["run_id"], row["step"]) for row in curves.to_pylist()}


def test_settings_are_parameters_as_they_were_used(
    store: Path, add_run: Callable[..., str], tmp_path: Path
) -> None:
    added = add_run(hyperparameters={"recipe": "fast", "ratio": 0.25, "seed": 7}, method="mine")
    write_mlflow(store, tmp_path / "tracking")
    sql = f"SELECT key, value FROM params WHERE run_uuid = '{added}'"
    params = dict(rows_of(tmp_path / "tracking", sql))
    assert params["recipe"] == "fast"
    assert params["ratio"] == "0.25"
    assert params["mine.seed"] == "7"
    assert params["method"] == "mine"


def test_numbers_that_are_none_and_failures_are_kept(
    store: Path, add_run: Callable[..., str], tmp_path: Path
) -> None:
    odd = add_run({("test", "nll"): math.nan, ("test", "ratio"): math.inf})
    failed = add_run(status="failed", error="out of memory")
    write_mlflow(store, tmp_path / "tracking")
    sql = f"SELECT key, value, is_nan FROM metrics WHERE run_uuid = '{odd}' AND key LIKE 'test/%'"
    assert sorted(rows_of(tmp_path / "tracking", sql)) == [
        ("test/nll", 0.0, 1),
        ("test/ratio", sys.float_info.max, 0),
    ]
    sql = f"SELECT value FROM tags WHERE run_uuid = '{failed}' AND key = 'error'"
    assert rows_of(tmp_path / "tracking", sql) == [("out of memory",)]


def test_a_promoted_classifier_is_an_artifact_of_its_run(store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tracking"
    write_mlflow(store, folder)
    promoted = [
        each for each in PromotionStore(store).history(DATASET) if each.decision == "promoted"
    ]
    assert promoted
    for record in promoted:
        place = folder / "mlartifacts" / "1" / record.run_id / "artifacts"
        content = (place / "classifier.safetensors").read_bytes()
        assert content == PromotionStore(store).read(record).content
    uris = rows_of(folder, "SELECT artifact_uri FROM runs")
    assert (f"mlflow-artifacts:/1/{promoted[0].run_id}/artifacts",) in uris


def test_a_damaged_classifier_is_named_and_stops_nothing(store: Path, tmp_path: Path) -> None:
    promotions = PromotionStore(store)
    promoted = [each for each in promotions.history(DATASET) if each.decision == "promoted"]
    Path(str(promotions.path_of(promoted[-1]))).unlink()
    write_mlflow(store, tmp_path / "tracking")
    sql = "SELECT run_uuid, value FROM tags WHERE key = 'classifier_error'"
    found = dict(rows_of(tmp_path / "tracking", sql))
    assert "it is gone" in found[promoted[-1].run_id]


@contextmanager
def mlflow_server(python: Path, folder: Path, log: Path) -> Iterator[str]:
    """A server of MLflow in a folder; its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    options = ["--backend-store-uri", "sqlite:///mlflow.db", "--port", str(port), "--workers", "1"]
    command = [python.with_name("mlflow"), "server", *options]
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
        try:
            _wait(f"{address}/health", server)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # and its workers, which outlive it otherwise
            server.wait(30)


def _wait(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert server.poll() is None
        try:
            with urlopen(address, timeout=5):  # noqa: S310  # of this machine
                return
        except (URLError, OSError):
            time.sleep(0.5)
    raise TimeoutError(address)


@pytest.mark.slow
@pytest.mark.skipif(MLFLOW not in os.environ, reason=f"{MLFLOW} names no Python with MLflow")
def test_mlflow_shows_what_was_written(store: Path, tmp_path: Path) -> None:
    python, folder = Path(os.environ[MLFLOW]), tmp_path / "tracking"
    n_runs = write_mlflow(store, folder)
    with mlflow_server(python, folder, tmp_path / "log") as address:
        with urlopen(address, timeout=30) as page:  # noqa: S310  # of this machine
            assert b"<html" in page.read().lower()
        asked = [python, "-c", ASK_MLFLOW, address, DATASET, tmp_path]
        answer = subprocess.run(asked, capture_output=True, text=True, check=True)
    lines = answer.stdout.splitlines()
    runs = {each["run_id"]: each for each in json.loads(lines[0])}
    assert len(runs) == n_runs
    sql = "SELECT run_id, value FROM metrics WHERE split = 'test' AND name = 'accuracy'"
    for row in query(store, sql).to_pylist():
        assert runs[row["run_id"]]["metrics"]["test/accuracy"] == row["value"]
    promoted = [
        each for each in PromotionStore(store).history(DATASET) if each.decision == "promoted"
    ]
    assert runs[promoted[-1].run_id]["artifacts"] == ["classifier.safetensors"]
    contents = [PromotionStore(store).read(each).content.hex() for each in promoted]
    assert lines[1] in contents
