from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from clip_adapter.runs import ImagePredictions, RunResult, RunStore, query
from clip_adapter.runs.saved_questions import saved_questions


def ask(root: Path, results: list[RunResult], sql: str) -> list[dict[str, Any]]:
    RunStore(root).record(results)
    found: list[dict[str, Any]] = query(root, sql).to_pylist()
    return found


def test_each_class_has_its_recall_precision_and_f1(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    mixed = replace(predictions_of(0, 1, 1, 1), label=np.array([0, 0, 0, 1]))
    twice = [replace(result_of(seed), predictions=mixed) for seed in (1, 2)]
    found = ask(tmp_path, twice, "select class_name, n, recall, precision, f1 from per_class")
    # Two seeds said the same: of three images of zero one was found, of one image of one one.
    assert found == [
        {"class_name": "zero", "n": 6, "recall": 1 / 3, "precision": 1.0, "f1": 0.5},
        {"class_name": "one", "n": 2, "recall": 1.0, "precision": 1 / 3, "f1": 0.5},
    ]


def test_a_class_that_is_never_predicted_has_no_precision(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    never = [replace(result_of(1), predictions=predictions_of(1, 1))]
    found = ask(tmp_path, never, "select class_name, recall, precision, f1 from per_class")
    assert found == [{"class_name": "zero", "recall": 0.0, "precision": None, "f1": 0.0}]


def test_the_f1_of_every_class_is_that_of_scikit_learn(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    rng = np.random.default_rng(0)
    labels, predicted = np.arange(60) % 3, rng.integers(0, 3, 60)
    said = replace(predictions_of(*predicted), label=labels)
    run = replace(result_of(1, class_names=("zero", "one", "two")), predictions=said)
    found = ask(tmp_path, [run], "select precision, recall, f1 from per_class")
    expected = precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose([list(row.values()) for row in found], np.array(expected[:3]).T)


def test_classes_are_worse_than_the_zero_shot_that_ran_last(
    tmp_path: Path,
    result_of: Callable[..., RunResult],
    predictions_of: Callable[..., ImagePredictions],
) -> None:
    """Templates are settings: two sets of them are two current configurations of zero-shot."""
    zero_shot = {"method": "zero-shot", "shots": 0, "seed": None, "split_fingerprint": ""}
    later = datetime(2026, 11, 24, tzinfo=UTC)
    results = [
        (result_of(1), (0, 1, 1, 1)),
        (result_of(2, **zero_shot, settings_fingerprint="one template"), (0, 0, 0, 0)),
        (result_of(3, **zero_shot, settings_fingerprint="another", started_at=later), (0, 0, 0, 1)),
        (result_of(4, settings_fingerprint="other", image_choice="budget:8"), (0, 0, 1, 1)),
        (result_of(5, settings_fingerprint="other", image_choice="budget:8"), (0, 0, 0, 0)),
    ]
    question = saved_questions()["worse-classes"]
    RunStore(tmp_path).record(
        [replace(each, predictions=predictions_of(*predicted)) for each, predicted in results]
    )
    found = query(tmp_path, question.statement, question.values({})).to_pylist()
    assert [(row["recall_zero_shot"], row["recall_adapted"]) for row in found] == [(0.75, 0.25)]
    assert (found[0]["settings_fingerprint"], found[0]["image_choice"]) == ("settings", "own")
