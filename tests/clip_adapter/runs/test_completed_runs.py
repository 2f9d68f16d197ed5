from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clip_adapter.runs import ImagePredictions, RunResult, RunStore


@pytest.fixture
def whole_result_of(
    result_of: Callable[..., RunResult], predictions_of: Callable[..., ImagePredictions]
) -> Callable[..., RunResult]:
    """A run with metrics and predictions."""
    return lambda number, **fields: replace(
        result_of(number, **fields), predictions=predictions_of(0, 1)
    )


def test_only_completed_runs_count_as_done(
    tmp_path: Path, whole_result_of: Callable[..., RunResult]
) -> None:
    store = RunStore(tmp_path)
    assert store.completed({"a"}, dataset="digits") == set()
    store.record(
        [
            whole_result_of(1, fingerprint="a"),
            whole_result_of(2, fingerprint="b", status="failed", error="boom"),
            whole_result_of(3, fingerprint="c"),
        ]
    )
    assert store.completed(["a", "b", "never"], dataset="digits") == {"a"}
    assert store.completed(["a"], dataset="another") == set()


@pytest.mark.parametrize("table", ["metrics", "predictions"])
def test_a_run_that_lost_its_results_is_to_be_made_again(
    tmp_path: Path, whole_result_of: Callable[..., RunResult], table: str
) -> None:
    store = RunStore(tmp_path)
    store.record([whole_result_of(1, fingerprint="a")])
    for path in (tmp_path / "runs" / table).iterdir():
        path.unlink()
    assert store.completed(["a"], dataset="digits") == set()


def test_predictions_on_other_images_than_the_test_splits_do_not_make_a_run_whole(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    judged = replace(predictions_of(0, 1), split="validation")
    lost = replace(result_of(1, fingerprint="a"), other_predictions=(judged,))
    whole = replace(lost, run=replace(lost.run, run_id="f" * 32, fingerprint="b"))
    RunStore(tmp_path).record([lost, replace(whole, predictions=predictions_of(0, 1))])
    assert RunStore(tmp_path).completed(["a", "b"], dataset="digits") == {"b"}
