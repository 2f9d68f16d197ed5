"""The two sides of the linear probe's benchmark choose the same."""

import pytest

from benchmarks.linear_probe_sides import (
    VALIDATION_SHOTS,
    probe_task,
    search_now,
    search_with_sklearn,
)

CLASSES, SHOTS = 4, 4


def test_both_sides_choose_the_same_regularization_and_accuracy() -> None:
    now = search_now(0, classes=CLASSES, shots=SHOTS)
    before = search_with_sklearn(0, classes=CLASSES, shots=SHOTS)
    assert now.value == pytest.approx(before.value)
    assert now.accuracy == before.accuracy
    assert min(now.seconds, before.seconds) > 0


def test_no_validation_image_trains() -> None:
    task = probe_task(0, classes=CLASSES, shots=SHOTS)
    assert task.train_features.shape == (CLASSES * SHOTS, 512)
    assert task.val_features.shape == (CLASSES * VALIDATION_SHOTS, 512)
    rows = {row.tobytes() for row in task.train_features}
    assert rows.isdisjoint(row.tobytes() for row in task.val_features)
