"""What an encoder costs is known from what was measured, and from nothing else."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import (
    ExtractionRecord,
    RunStoreError,
    connect,
    encoding_rate,
    query,
    record_extraction,
)

PLAIN: dict[str, Any] = {
    "extraction_id": f"{1:032x}",
    "started_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
    "dataset": "digits",
    "index_fingerprint": "index",
    "encoder": "0123456789abcdef",
    "model": "glyphs",
    "device": "cpu",
    "n_encoded": 100,
    "n_reused": 0,
    "seconds": 10.0,
}


def record(root: Path, number: int = 1, **fields: Any) -> None:
    ours = {"extraction_id": f"{number:032x}", **fields}
    record_extraction(root, ExtractionRecord(**{**PLAIN, **ours}))


def rate(root: Path, **asked: str) -> float | None:
    with connect(root) as database:
        return encoding_rate(database, **{"encoder": PLAIN["encoder"], "device": "cpu", **asked})


def test_a_rate_is_that_of_all_images_over_all_seconds(root: Path) -> None:
    record(root, 1, n_encoded=100, seconds=10.0)
    record(root, 2, n_encoded=500, seconds=20.0)
    assert rate(root) == 20


def test_another_device_or_encoder_says_nothing(root: Path) -> None:
    record(root)
    assert rate(root, device="cuda") is None
    assert rate(root, encoder="fedcba9876543210") is None
    assert rate(root, device="'; SELECT 1 --") is None


@pytest.mark.parametrize("few", [{"n_encoded": 3}, {"seconds": 0.01}])
def test_a_handful_of_images_is_no_measurement(root: Path, few: dict[str, Any]) -> None:
    record(root, **few)
    assert rate(root) is None


def test_the_same_extraction_recorded_twice_is_one_row(root: Path) -> None:
    record(root)
    record(root)
    assert query(root, "SELECT n_encoded FROM extractions").to_pylist() == [{"n_encoded": 100}]


@pytest.mark.parametrize(
    "wrong",
    [
        {"started_at": datetime(2026, 1, 1)},  # noqa: DTZ001  # that is what is wrong
        {"n_encoded": 0},
        {"seconds": 0.0},
        {"n_encoded": 0, "seconds": 0.0},
        {"n_reused": -1},
    ],  # that is what is wrong
)
def test_what_says_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(RunStoreError):
        ExtractionRecord(**{**PLAIN, **wrong})
