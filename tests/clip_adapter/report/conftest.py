"""Stores of runs that never happened, whose numbers are known."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.runs import (
    ImagePredictions,
    RunRecord,
    RunResult,
    RunSettings,
    RunStore,
    SplitImages,
    SplitRecord,
    Versions,
)

N_IMAGES = 200
VERSIONS = Versions(
    clip_adapter="0.1.0", python="3.11.7", torch="2.14.1", open_clip="3.3.0", numpy="2.4.0"
)
PLAIN: dict[str, Any] = {
    "sweep_id": "sweep",
    "dataset": "digits",
    "index_fingerprint": "index",
    "split_fingerprint": "split",
    "class_names": ("zero", "one"),
    "templates": ("a {}.",),
    "model": "glyphs",
    "encoder": "0123456789abcdef",
    "logit_scale": 100.0,
    "method": "clip-adapter",
    "shots": 4,
    "settings": RunSettings(residual_ratio=0.2, recipe="paper"),
    "settings_fingerprint": "settings",
    "selected_on": "validation",
    "seconds_encode": 1.0,
    "seconds_train": 2.5,
    "peak_memory_bytes": 2**33,
    "n_train": 8,
    "n_validation": 8,
    "n_test": N_IMAGES,
    "n_leaked": 0,
    "device": "cpu",
    "precision": "fp32",
    "versions": VERSIONS,
    "git_commit": "c0ffee" * 6 + "c0ff",
    "started_at": datetime(2026, 11, 23, 12, tzinfo=UTC),
}

PutRuns = Callable[..., None]
PutSplits = Callable[..., list[str]]


def result(number: int, n_right: int, seed: int | None, **fields: Any) -> RunResult:
    """A run that is right on the first `n_right` of two hundred images."""
    metrics = {
        ("test", "accuracy"): n_right / N_IMAGES,
        ("test", "nll"): 1.0,
        ("test", "ece"): 0.125,
        ("test", "ece_calibrated"): 0.05,
        ("test", "temperature"): 1.5,
    }
    record = RunRecord(
        run_id=f"{number:032x}",
        fingerprint=f"fingerprint-{number}",
        seed=seed,
        **{**PLAIN, **fields},
    )
    if record.status == "failed":
        return RunResult(run=record)
    return RunResult(run=record, metrics=metrics, predictions=_predictions(n_right))


def _predictions(n_right: int) -> ImagePredictions:
    return ImagePredictions(
        image_sha256=[hashlib.sha256(str(number).encode()).digest() for number in range(N_IMAGES)],
        label=np.zeros(N_IMAGES, dtype=np.int64),
        predicted=(np.arange(N_IMAGES) >= n_right).astype(np.int64),
        confidence=np.full(N_IMAGES, 0.5),
        margin=np.full(N_IMAGES, 0.25),
    )


@pytest.fixture
def put_runs(root: Path) -> PutRuns:
    """Record a run a seed: how many of the 200 images each is right on."""
    numbers = iter(range(10_000))

    def put(
        n_right: Iterable[int], *, seeds: Iterable[int | None] = (1, 2, 3), **fields: Any
    ) -> None:
        runs = [
            result(next(numbers), right, seed, **fields)
            for right, seed in zip(n_right, seeds, strict=False)
        ]
        RunStore(root).record(runs)

    return put


@pytest.fixture
def put_splits(root: Path) -> PutSplits:
    """Record a split for each tuple of numbers of training images, in one failed run each."""

    def put(training_images: Iterable[tuple[int, ...]]) -> list[str]:
        splits = [
            SplitRecord(
                split_fingerprint=f"split-{seed}",
                dataset="digits",
                index_fingerprint="index",
                shots=4,
                seed=seed,
                train=_images(numbers),
                validation=_images((100 + seed,)),
            )
            for seed, numbers in enumerate(training_images, 1)
        ]
        for split in splits:
            run = result(20_000 + split.seed, 0, split.seed, status="failed", error="a split").run
            of_split = replace(run, split_fingerprint=split.split_fingerprint)
            RunStore(root).record([RunResult(run=of_split, split=split)])
        return [split.split_fingerprint for split in splits]

    return put


def _images(numbers: tuple[int, ...]) -> SplitImages:
    digests = [hashlib.sha256(str(number).encode()).digest() for number in numbers]
    return SplitImages(image_sha256=digests, label=np.zeros(len(digests), dtype=np.int64))


@pytest.fixture
def digits(put_runs: PutRuns, root: Path) -> Path:
    """Zero-shot, a linear probe that is behind at one shot and ahead at four, and CLIP-Adapter."""
    zero_shot = {"method": "zero-shot", "shots": 0, "split_fingerprint": ""}
    unset = {"settings": RunSettings(prompts="ensemble"), "selected_on": "nothing"}
    put_runs([120], seeds=[None], **zero_shot, **unset)
    for shots, ours, theirs in ((1, (140, 142, 144), (100, 130, 110)), (4, (160,) * 3, (170,) * 3)):
        put_runs(ours, shots=shots)
        put_runs(theirs, shots=shots, method="linear-probe", settings_fingerprint="probe")
    return root
