"""Runs that never happened, as small as they can be."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.runs import (
    ImagePredictions,
    RequestRecord,
    RequestStore,
    RunRecord,
    RunResult,
    RunSettings,
    SplitImages,
    SplitRecord,
    Versions,
)

VERSIONS = Versions(
    clip_adapter="0.1.0", python="3.11.7", torch="2.14.1", open_clip="3.3.0", numpy="2.4.0"
)


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def plain_run(number: int) -> RunRecord:
    return RunRecord(
        run_id=f"{number:032x}",
        fingerprint=f"fingerprint-{number}",
        sweep_id="sweep",
        started_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
        dataset="digits",
        index_fingerprint="index",
        split_fingerprint="split",
        class_names=("zero", "one"),
        templates=("a {}.",),
        model="glyphs",
        encoder="encoder",
        logit_scale=100.0,
        method="clip-adapter",
        shots=4,
        seed=number,
        settings=RunSettings(residual_ratio=0.2, epochs=100),
        settings_fingerprint="settings",
        selected_on="validation",
        seconds_encode=1.5,
        seconds_train=2.5,
        peak_memory_bytes=2**33,
        n_train=8,
        n_validation=8,
        n_test=2,
        n_leaked=0,
        device="cpu",
        precision="fp32",
        versions=VERSIONS,
    )


def plain_request(number: int) -> RequestRecord:
    return RequestRecord(
        request_id=f"{number:032x}",
        sequence=number,
        asked_at=datetime(2026, 11, 23, 12, tzinfo=UTC),
        command="train",
        dataset="digits",
        index_fingerprint="index",
        encoder="encoder",
        model="glyphs",
    )


@pytest.fixture
def run_of() -> Callable[..., RunRecord]:
    """A run by its number; the keywords are the fields that matter to the test."""

    def make(number: int, **fields: Any) -> RunRecord:
        return replace(plain_run(number), **fields)

    return make


@pytest.fixture(scope="session")
def result_of() -> Callable[..., RunResult]:
    """A completed run by its number, with an accuracy; keywords as for `run_of`."""

    def make(number: int, accuracy: float = 0.5, nll: float = 1.0, **fields: Any) -> RunResult:
        metrics = {("test", "accuracy"): accuracy, ("test", "nll"): nll}
        return RunResult(run=replace(plain_run(number), **fields), metrics=metrics)

    return make


@pytest.fixture
def predictions_of() -> Callable[..., ImagePredictions]:
    """Predictions for images 0, 1, ... whose true classes are all `label`."""

    def make(*predicted: int, label: int = 0) -> ImagePredictions:
        count = len(predicted)
        return ImagePredictions(
            image_sha256=[digest(number) for number in range(count)],
            label=np.full(count, label),
            predicted=np.array(predicted, dtype=np.int64),
            confidence=np.linspace(0.5, 1.0, count),
            margin=np.linspace(0.25, 0.75, count),
        )

    return make


@pytest.fixture
def split() -> SplitRecord:
    train = SplitImages(image_sha256=[digest(7), digest(8)], label=np.array([0, 1]))
    validation = SplitImages(image_sha256=[digest(9)], label=np.array([1]))
    return SplitRecord(
        split_fingerprint="split",
        dataset="digits",
        index_fingerprint="index",
        shots=4,
        seed=1,
        train=train,
        validation=validation,
    )


@pytest.fixture
def splits_of(split: SplitRecord) -> Callable[..., list[SplitRecord]]:
    """Splits of seeds 1, 2, ... by the numbers of their training images."""

    def make(*training_images: tuple[int, ...]) -> list[SplitRecord]:
        return [
            replace(
                split,
                split_fingerprint=f"split-{seed}",
                seed=seed,
                train=SplitImages(
                    image_sha256=[digest(number) for number in numbers],
                    label=np.zeros(len(numbers), dtype=np.int64),
                ),
                # They select on different images, which makes no other training.
                validation=SplitImages(image_sha256=[digest(100 + seed)], label=np.array([1])),
            )
            for seed, numbers in enumerate(training_images, 1)
        ]

    return make


@pytest.fixture
def ask_for(root: Path) -> Callable[..., RequestRecord]:
    """Record a request by its number, which is also its place in the sequence."""

    def make(number: int, **fields: Any) -> RequestRecord:
        record = replace(plain_request(number), **fields)
        RequestStore(root).append(record)
        return record

    return make
