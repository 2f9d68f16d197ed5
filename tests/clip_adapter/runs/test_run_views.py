from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from clip_adapter.runs import (
    ImagePredictions,
    RunRecord,
    RunResult,
    RunStore,
    SplitRecord,
    query,
)
from feature_cache.indexes import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def ask(
    root: Path, results: list[RunResult], sql: str = "from leaderboard"
) -> list[dict[str, Any]]:
    RunStore(root).record(results)
    found: list[dict[str, Any]] = query(root, sql).to_pylist()
    return found


def test_the_interval_is_students_over_seeds(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    scores = [0.70, 0.74, 0.78]
    (row,) = ask(tmp_path, [result_of(seed, score) for seed, score in enumerate(scores)])
    low, high = stats.t.interval(0.95, 2, loc=stats.tmean(scores), scale=stats.sem(scores))
    assert (row["seeds"], row["accuracy_min"], row["accuracy_max"]) == (3, 0.70, 0.78)
    assert row["accuracy_mean"] == pytest.approx(0.74)
    # The same formula in another order of operations: equal but for rounding.
    assert row["accuracy_ci95"] == pytest.approx((high - low) / 2, rel=1e-9)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(scores=st.lists(st.integers(0, 1000), min_size=2, max_size=12, unique=True))
def test_the_leaderboard_agrees_with_scipy_on_any_scores(
    tmp_path_factory: pytest.TempPathFactory, result_of: Callable[..., RunResult], scores: list[int]
) -> None:
    accuracies = [score / 1000 for score in scores]
    results = [result_of(seed, value) for seed, value in enumerate(accuracies)]
    (row,) = ask(tmp_path_factory.mktemp("store"), results)
    expected = stats.t.ppf(0.975, len(scores) - 1) * stats.sem(accuracies)
    assert row["accuracy_mean"] == pytest.approx(stats.tmean(accuracies))
    assert row["accuracy_ci95"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_seeds", [61, 62, 250])
def test_the_interval_of_many_seeds_is_that_of_scipy(
    tmp_path: Path, result_of: Callable[..., RunResult], n_seeds: int
) -> None:
    """The last number of seeds with a quantile in the table, and two for which it is expanded."""
    scores = [seed % 2 for seed in range(n_seeds)]
    (row,) = ask(tmp_path, [result_of(seed, score) for seed, score in enumerate(scores)])
    expected = stats.t.ppf(0.975, n_seeds - 1) * stats.sem(scores)
    assert row["accuracy_ci95"] == pytest.approx(expected, rel=1e-9)


def test_every_quantile_of_the_table_is_that_of_scipy(tmp_path: Path) -> None:
    asked = "SELECT internal.student_t_975(degrees) AS t FROM range(1, 61) AS _(degrees)"
    found = query(tmp_path, asked)["t"].to_numpy()
    np.testing.assert_allclose(found, stats.t.ppf(0.975, np.arange(1, 61)), rtol=1e-12)


def test_one_seed_has_no_interval(tmp_path: Path, result_of: Callable[..., RunResult]) -> None:
    (row,) = ask(tmp_path, [result_of(1, method="zero-shot", shots=0, seed=None)])
    assert (row["seeds"], row["accuracy_mean"], row["accuracy_ci95"]) == (1, 0.5, None)


@pytest.mark.parametrize(
    ("training_images", "draws"),
    [([(7, 8), (8, 7), (7, 8)], 1), ([(7, 8), (7, 8), (7, 9)], 2), ([(7,), (8,), (9,)], 3)],
)
def test_seeds_on_the_same_training_images_are_one_draw_without_an_interval(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    splits_of: Callable[..., list[SplitRecord]],
    training_images: list[tuple[int, ...]],
    draws: int,
) -> None:
    results = [
        replace(
            result_of(
                split.seed,
                split.seed / 10,
                seed=split.seed,
                split_fingerprint=split.split_fingerprint,
            ),
            split=split,
        )
        for split in splits_of(*training_images)
    ]
    (row,) = ask(tmp_path, results)
    assert (row["seeds"], row["draws"]) == (3, draws)
    assert (row["accuracy_ci95"] is None) == (draws == 1)


def test_a_failed_run_is_in_runs_but_not_on_the_leaderboard(
    tmp_path: Path, run_of: Callable[..., RunRecord]
) -> None:
    failed = RunResult(run=run_of(1, status="failed", error="boom"))
    assert ask(tmp_path, [failed]) == []
    assert query(tmp_path, "select error from runs").to_pylist() == [{"error": "boom"}]


def test_the_latest_run_of_a_seed_counts(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    old, new = result_of(1, 0.25, seed=7), result_of(2, 0.75, seed=7, started_at=LATER)
    (row,) = ask(tmp_path, [new, old])
    assert (row["seeds"], row["accuracy_mean"], row["last_run"]) == (1, 0.75, LATER)


def test_a_later_failure_does_not_hide_an_earlier_success(
    tmp_path: Path, result_of: Callable[..., RunResult], run_of: Callable[..., RunRecord]
) -> None:
    failed = RunResult(run=run_of(2, seed=1, status="failed", error="boom", started_at=LATER))
    (row,) = ask(tmp_path, [result_of(1), failed])
    assert row["accuracy_mean"] == 0.5


def test_only_the_latest_index_of_a_dataset_is_shown(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    grown = result_of(1, 0.75, index_fingerprint="grown", started_at=LATER)
    (row,) = ask(tmp_path, [grown, *(result_of(seed, 0.25) for seed in (2, 3))])
    assert (row["seeds"], row["accuracy_mean"]) == (1, 0.75)


def test_encoders_datasets_shots_and_settings_are_told_apart(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    results = [
        result_of(1),
        result_of(2, encoder="other"),
        result_of(3, dataset="eurosat"),
        result_of(4, shots=16),
        result_of(5, settings_fingerprint="other"),
    ]
    assert len(ask(tmp_path, results)) == 5


def test_an_oracle_is_called_one_everywhere(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    oracle = replace(
        result_of(1, 0.9, selected_on="test (oracle)"), predictions=predictions_of(0, 1)
    )
    rival = replace(result_of(2, seed=1), predictions=predictions_of(1, 1))
    RunStore(tmp_path).record([oracle, rival])
    for view in ("runs", "leaderboard", "confusion", "disagreements"):
        found = query(tmp_path, f"select distinct method from {view}")["method"].to_pylist()
        assert sorted(found) == ["clip-adapter", "clip-adapter (oracle)"]


def test_the_leaderboard_is_ordered_by_shots_then_accuracy(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    results = [
        result_of(1, 0.5, shots=16, method="a"),
        result_of(2, 0.9, shots=16, method="b"),
        result_of(3, 0.7, shots=1, method="a"),
    ]
    found = [(row["shots"], row["method"]) for row in ask(tmp_path, results)]
    assert found == [(1, "a"), (16, "b"), (16, "a")]


def test_confusion_counts_over_seeds_and_names_the_classes(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    results = [
        replace(result_of(seed), predictions=predictions_of(0, 1, label=1)) for seed in (1, 2)
    ]
    found = ask(tmp_path, results, "select class_name, predicted_name, n from confusion")
    assert found == [
        {"class_name": "one", "predicted_name": "zero", "n": 2},
        {"class_name": "one", "predicted_name": "one", "n": 2},
    ]


def test_runs_of_a_study_stand_apart(tmp_path: Path, result_of: Callable[..., RunResult]) -> None:
    results = [
        result_of(1, 0.5),
        result_of(2, 0.6, seed=1, study="branch"),
        result_of(3, 0.7, seed=1, study="branch", started_at=LATER),
        result_of(4, 0.8, seed=1, study="views"),
    ]
    found = ask(tmp_path, results, "select study, run_id from study_runs order by study")
    assert [(row["study"], int(row["run_id"], 16)) for row in found] == [
        ("branch", 3),
        ("views", 4),
    ]
    assert query(tmp_path, "select run_id from current_runs").num_rows == 1


def test_methods_disagree_about_an_image_by_name_and_path(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    truth = predictions_of(0, 0)
    index_images(tmp_path, truth.image_sha256)
    adapter = replace(result_of(1), predictions=truth)
    zero_shot = replace(
        result_of(2, method="zero-shot", shots=0, seed=None), predictions=predictions_of(0, 1)
    )
    columns = "shots, seed, path, class_name, method, predicted_name, correct, confidence"
    found = ask(tmp_path, [adapter, zero_shot], f"select {columns} from disagreements")
    common = {"shots": 4, "seed": 1, "path": "1.png", "class_name": "zero", "confidence": 1.0}
    assert found == [
        {**common, "method": "clip-adapter", "predicted_name": "zero", "correct": True},
        {**common, "method": "zero-shot", "predicted_name": "one", "correct": False},
    ]


def test_other_seeds_are_no_disagreement(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    results = [
        replace(result_of(seed), predictions=predictions_of(predicted))
        for seed, predicted in ((1, 0), (2, 1))
    ]
    assert ask(tmp_path, results, "from disagreements") == []


def test_indexes_and_quarantine_can_be_asked_about(tmp_path: Path) -> None:
    index_images(tmp_path, [bytes(32)])
    found = query(tmp_path, 'select row, image_sha256, path, label, split, "group" from images')
    assert found.to_pylist() == [
        {
            "row": 0,
            "image_sha256": "00" * 32,
            "path": "0.png",
            "label": 0,
            "split": "test",
            "group": None,
        }
    ]
    assert query(tmp_path, "select reason from quarantine")["reason"].to_pylist() == ["truncated"]


def index_images(root: Path, digests: Sequence[bytes]) -> None:
    origin = {"index_fingerprint": "index", "dataset": "digits"}
    image = {"label": 0, "class_name": "zero", "split": "test", "width": 8, "height": 8}
    images = [
        {**origin, **image, "row": row, "image_sha256": sha, "path": f"{row}.png", "n_bytes": 1}
        for row, sha in enumerate(digests)
    ]
    broken = [{**origin, "path": "broken.png", "reason": "truncated", "n_bytes": 3}]
    IndexStore(root, "digits").write(
        pa.Table.from_pylist(images, schema=INDEX_SCHEMA),
        pa.Table.from_pylist(broken, schema=QUARANTINE_SCHEMA),
    )
