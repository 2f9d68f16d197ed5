"""Stores of many files and rows that never were, and what it takes to look into them."""

import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from clip_adapter.datasets import DatasetIndex, ImageSource, Split
from clip_adapter.pipeline.index import IndexedDataset, read_index, write_index
from clip_adapter.runs import (
    ImagePredictions,
    RunRecord,
    RunResult,
    RunSettings,
    RunStore,
    Versions,
)
from feature_cache import FeatureStore, IndexStore, compact_folder, list_files, stored_folders

ENCODER = "0123456789abcdef"
WIDTH, ROWS_A_FILE = 64, 16
PLAIN: dict[str, Any] = {
    "sweep_id": "sweep",
    "dataset": "synthetic",
    "index_fingerprint": "index",
    "split_fingerprint": "split",
    "class_names": tuple(f"class {number}" for number in range(10)),
    "templates": ("a photo of a {}.",),
    "model": "model",
    "encoder": ENCODER,
    "logit_scale": 100.0,
    "method": "clip-adapter",
    "settings": RunSettings(residual_ratio=0.2, recipe="paper"),
    "selected_on": "validation",
    "seconds_encode": 0.0,
    "seconds_train": 0.5,
    "peak_memory_bytes": 2**30,
    "n_train": 160,
    "n_validation": 40,
    "n_test": 0,
    "n_leaked": 0,
    "device": "cpu",
    "precision": "fp32",
    "versions": Versions(clip_adapter="0", python="3", torch="2", open_clip="3", numpy="2"),
}


def digests(numbers: range) -> list[bytes]:
    """As evenly spread as those of image files."""
    return [hashlib.sha256(str(number).encode()).digest() for number in numbers]


def put_features(root: Path, *, files: int) -> float:
    """Write features in files of 16 rows; seconds a file."""
    store = FeatureStore(root, ENCODER)
    features = np.random.default_rng(0).standard_normal((ROWS_A_FILE, WIDTH), np.float32)
    start = time.perf_counter()
    for number in range(files):
        first = number * ROWS_A_FILE
        store.append_images(digests(range(first, first + ROWS_A_FILE)), features)
    return (time.perf_counter() - start) / files


def look_for_features(root: Path, *, files: int) -> tuple[float, float]:
    """Seconds to list the files, and to find out that nothing is missing, verifying each."""
    store = FeatureStore(root, ENCODER)
    start = time.perf_counter()
    list_files(store.folder / "image")
    listed = time.perf_counter()
    missing = store.missing_images(digests(range(files * ROWS_A_FILE)))
    if missing:
        raise RuntimeError(f"{len(missing)} images are missing, expected none")
    return listed - start, time.perf_counter() - listed


def compact_features(root: Path) -> float:
    """Merge the small files; seconds."""
    start = time.perf_counter()
    for folder in stored_folders(root):
        if folder.has_features:
            compact_folder(folder)
    return time.perf_counter() - start


def put_index(root: Path, *, images: int) -> float:
    """Write the index of a dataset of so many images; seconds."""
    names = tuple(f"class {number}" for number in range(1000))
    paths = tuple(f"class-{number % 1000}/{number:08d}.jpg" for number in range(images))
    # The source's own list of files is not stored, and not needed to write an index.
    source = ImageSource("synthetic", root, names, ("a {}.",), files=())
    train: Split = "train"
    sizes = np.full(images, 224, np.int32)
    index = DatasetIndex(
        source=source,
        paths=paths,
        image_sha256=tuple(digests(range(images))),
        labels=np.arange(images) % 1000,
        splits=(train,) * images,
        groups=(None,) * images,
        widths=sizes,
        heights=sizes,
        n_bytes=sizes.astype(np.int64),
        quarantined=(),
    )
    start = time.perf_counter()
    write_index(IndexStore(root, "synthetic"), index)
    (root / "fingerprint").write_text(index.fingerprint)
    return time.perf_counter() - start


def take_index(root: Path, *, images: int) -> float:
    """Read it; seconds. The peak of memory is the process's own."""
    reference = IndexedDataset(
        root=root,
        name="synthetic",
        folder=root,
        index_fingerprint=(root / "fingerprint").read_text(),
        class_names=(),
        templates=(),
        n_images=images,
        n_quarantined=0,
        n_leaked=0,
    )
    start = time.perf_counter()
    read_index(reference)
    return time.perf_counter() - start


def put_runs(root: Path, *, runs: int, a_file: int) -> None:
    """Record runs with one metric each and no predictions, so many at a time."""
    store = RunStore(root)
    for first in range(0, runs, a_file):
        store.record(list(_runs(range(first, min(first + a_file, runs)))))


def look_into_runs(root: Path) -> float:
    """Seconds of asking which of a thousand runs are recorded."""
    start = time.perf_counter()
    asked = (f"fingerprint-{number}" for number in range(1000))
    RunStore(root).completed(asked, dataset="synthetic")
    return time.perf_counter() - start


def size_of_predictions(root: Path, *, images: int) -> float:
    """Stored bytes per prediction, of ten runs over the same test images."""
    keys = digests(range(images))
    dice = np.random.default_rng(0)
    results = [
        RunResult(
            run=each.run,
            metrics=each.metrics,
            predictions=ImagePredictions(
                image_sha256=keys,
                label=np.arange(images) % 10,
                predicted=dice.integers(0, 10, images),
                confidence=dice.random(images, np.float32),
                margin=dice.random(images, np.float32),
            ),
        )
        for each in _runs(range(10))
    ]
    RunStore(root).record(results)
    folder = root / "runs" / "predictions"
    return sum(path.stat().st_size for path in folder.iterdir()) / (10 * images)


def _runs(numbers: range) -> Iterator[RunResult]:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for number in numbers:
        record = RunRecord(
            run_id=f"{number:032x}",
            fingerprint=f"fingerprint-{number}",
            started_at=now,
            shots=2 ** (number % 5),
            seed=number % 1000,
            settings_fingerprint=f"settings-{number // 5000}",
            **PLAIN,
        )
        yield RunResult(run=record, metrics={("test", "accuracy"): 0.5, ("test", "nll"): 1.0})
