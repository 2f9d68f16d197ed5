from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_adapter.runs import (
    Candidate,
    EvaluatedOn,
    ImagePredictions,
    RunRecord,
    RunResult,
    RunStore,
    RunStoreError,
    SplitRecord,
    connect,
    query,
    read_runs,
)
from feature_cache.parquet_file import write_table


def rows(root: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(root, sql).to_pylist()
    return found


def test_what_is_recorded_is_read_back(
    tmp_path: Path,
    run_of: Callable[..., RunRecord],
    predictions_of: Callable[..., ImagePredictions],
    split: SplitRecord,
) -> None:
    run = run_of(
        1,
        tried=(
            Candidate(
                settings={"residual_ratio": 0.2}, validation_accuracy=0.75, validation_nll=0.5
            ),
        ),
    )
    result = RunResult(
        run=run,
        metrics={("test", "accuracy"): 0.5},
        curves={"loss": [2.0, 1.0]},
        predictions=predictions_of(0, 1),
        split=split,
    )
    RunStore(tmp_path).record([result])

    (found,) = rows(tmp_path, "from runs")
    for name in ("run_id", "started_at", "dataset", "seed", "method", "peak_memory_bytes"):
        assert found[name] == getattr(run, name)
    assert found["class_names"] == ["zero", "one"]
    assert (found["residual_ratio"], found["epochs"], found["reduction"]) == (0.2, 100, None)
    assert found["candidates"][0]["validation_accuracy"] == 0.75
    assert found["versions"]["torch"] == run.versions.torch
    assert rows(tmp_path, "select name, value from metrics") == [{"name": "accuracy", "value": 0.5}]
    assert rows(tmp_path, "select step, value from curves order by step") == [
        {"step": 0, "value": 2.0},
        {"step": 1, "value": 1.0},
    ]
    assert rows(tmp_path, "select predicted, correct from predictions order by position") == [
        {"predicted": 0, "correct": True},
        {"predicted": 1, "correct": False},
    ]
    assert rows(tmp_path, "select role, count(*) as n from splits group by role order by role") == [
        {"role": "train", "n": 2},
        {"role": "validation", "n": 1},
    ]


def test_digests_are_shown_in_hex(
    tmp_path: Path,
    run_of: Callable[..., RunRecord],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    predictions = predictions_of(0)
    RunStore(tmp_path).record([RunResult(run=run_of(1), predictions=predictions)])
    found = rows(tmp_path, "select image_sha256 from predictions")
    assert found == [{"image_sha256": predictions.image_sha256[0].hex()}]


def test_a_batch_is_one_file_a_table(tmp_path: Path, result_of: Callable[..., RunResult]) -> None:
    paths = RunStore(tmp_path).record([result_of(number) for number in range(5)])
    assert [path.parent.name for path in paths] == ["metrics", "runs"]
    assert all(path.is_file() for path in paths)


def test_an_empty_batch_writes_nothing(tmp_path: Path) -> None:
    assert RunStore(tmp_path / "store").record([]) == []
    assert not (tmp_path / "store").exists()


def test_recording_a_batch_again_changes_nothing(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    batch = [result_of(number) for number in range(3)]
    first = RunStore(tmp_path).record(batch)
    assert RunStore(tmp_path).record(batch) == first
    assert rows(tmp_path, "select count(*) as n from runs") == [{"n": 3}]


def test_rows_that_two_files_hold_count_once(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    first, second = (
        replace(result_of(number), predictions=predictions_of(0, 1)) for number in (1, 2)
    )
    RunStore(tmp_path).record([first, second])
    RunStore(tmp_path).record([first])
    found = rows(
        tmp_path,
        "select (select count(*) from runs) as runs, (select count(*) from metrics) as metrics, "
        "(select count(*) from predictions) as predictions",
    )
    assert found == [{"runs": 2, "metrics": 4, "predictions": 4}]


def test_an_image_that_a_test_split_holds_twice_is_two_predictions(
    tmp_path: Path,
    run_of: Callable[..., RunRecord],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    twice = predictions_of(0, 0)
    twice = replace(twice, image_sha256=[twice.image_sha256[0]] * 2)
    RunStore(tmp_path).record([RunResult(run=run_of(1), predictions=twice)])
    assert rows(tmp_path, "select count(*) as n from predictions") == [{"n": 2}]


def test_a_split_that_runs_share_is_recorded_once(
    tmp_path: Path, result_of: Callable[..., RunResult], split: SplitRecord
) -> None:
    RunStore(tmp_path).record([replace(result_of(number), split=split) for number in (1, 2)])
    RunStore(tmp_path).record([replace(result_of(3), split=split)])
    assert rows(tmp_path, "select count(*) as n from splits") == [{"n": 3}]


def test_a_run_id_that_occurs_twice_in_a_batch_is_refused(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    with pytest.raises(RunStoreError, match="more than once"):
        RunStore(tmp_path).record([result_of(1), result_of(1)])
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_contradicts_itself_is_not_recorded(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    with pytest.raises(RunStoreError, match="an error from every failed run"):
        RunStore(tmp_path).record([result_of(1), result_of(2, status="failed")])
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_run_is_read_back_as_it_was(
    tmp_path: Path, run_of: Callable[..., RunRecord]
) -> None:
    tried = Candidate(settings={"alpha": 0.5}, validation_accuracy=0.75, validation_nll=0.5)
    run = run_of(1, tried=(tried,), hyperparameters={"alpha": 0.5}, selection="validation")
    run = replace(run, tested_on=EvaluatedOn(dataset="digits"))
    RunStore(tmp_path).record([RunResult(run=run, metrics={("test", "nll"): 0.25})])
    with connect(tmp_path) as database:
        assert read_runs(database) == [RunResult(run=run, metrics={("test", "nll"): 0.25})]
        assert read_runs(database, metrics=False) == [RunResult(run=run)]
        assert read_runs(database, "study_runs") == []


def test_a_value_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    with pytest.raises(pa.ArrowInvalid):
        RunStore(tmp_path).record([result_of(1), result_of(2, shots=2**40)])
    assert list(tmp_path.iterdir()) == []


def test_a_run_counts_only_once_its_own_row_is_written(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
    split: SplitRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each table in turn is the last that a dying writer reaches."""
    result = replace(
        result_of(1), predictions=predictions_of(0), split=split, curves={"loss": [1.0]}
    )

    def dies_before_runs(folder: Path, table: pa.Table, *, kind: str) -> Path:
        views = ("runs", "metrics", "curves", "predictions", "splits", "leaderboard")
        counts = " union all ".join(f"select count(*) as n from {view}" for view in views)
        assert rows(tmp_path, f"select sum(n) as n from ({counts})") == [{"n": 0}]
        if kind == "runs":
            raise OSError("no space left on device")
        return write_table(folder, table, kind=kind)

    monkeypatch.setattr("clip_adapter.runs.store.write_table", dies_before_runs)
    with pytest.raises(OSError, match="no space"):
        RunStore(tmp_path).record([result])
    assert len(list((tmp_path / "runs").iterdir())) == 4
    assert rows(tmp_path, "from metrics") == []
    monkeypatch.undo()
    RunStore(tmp_path).record([result])
    assert rows(tmp_path, "select value from metrics where name = 'accuracy'") == [{"value": 0.5}]


def test_reading_during_writing_sees_whole_runs(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    """However the database and the writer interleave, a visible run has its metrics."""
    store = RunStore(tmp_path)
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(lambda: [store.record([result_of(number)]) for number in range(15)])
        for _ in range(5):
            assert rows(tmp_path, "from runs anti join metrics using (run_id)") == []
        writing.result()
    assert rows(tmp_path, "select count(*) as n from runs") == [{"n": 15}]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(st.lists(st.integers(0, 6), unique=True, max_size=4), min_size=1, max_size=3)
)
def test_the_store_is_the_union_of_its_batches(
    tmp_path_factory: pytest.TempPathFactory,
    result_of: Callable[..., RunResult],
    batches: list[list[int]],
) -> None:
    root = tmp_path_factory.mktemp("store")
    for batch in batches:
        RunStore(root).record([result_of(number) for number in batch])
    expected = sorted({f"{number:032x}" for batch in batches for number in batch})
    found = query(root, "select run_id from runs order by run_id")
    assert found["run_id"].to_pylist() == expected
