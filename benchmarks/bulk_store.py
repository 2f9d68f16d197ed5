"""A store of many runs that never were, written in the product's own files."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.pipeline.maintain import merge_run_files
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import schemas
from feature_cache import list_files, read_table, write_table
from feature_cache.schemas import conform

CLASSES, IMAGES = 10, 100
SHOTS, SEEDS = (1, 2, 4, 8, 16), range(1, 11)
SWEEP = len(SHOTS) * len(SEEDS)
"""Number of runs of one sweep: one dataset, encoder, method and settings."""
DATASETS = tuple(f"dataset-{number}" for number in range(5))
METHODS = (
    *("clip-adapter", "tip-adapter", "tip-adapter-f", "gda", "lp++"),
    *("task-res", "linear-probe", "coop", "cross-modal", "cross-modal-probe"),
)
METRICS = tuple(
    product(
        ("test", "validation", "held-out", "test-base", "test-new"),
        (
            "accuracy",
            "nll",
            "ece",
            "mce",
            "aurc",
            "brier",
            "macro_f1",
            "top5",
            "temperature",
            "margin",
        ),
    )
)
ROWS_A_FILE = {"runs": 25_000, "metrics": 50_000, "predictions": 40_000, "requests": 25_000}
"""Number of runs in a file of each table, as compaction leaves them."""
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class _Run:
    number: int
    dataset: str
    encoder: str
    method: str
    settings: str
    shots: int
    seed: int

    @property
    def run_id(self) -> str:
        return run_id(self.number)

    @property
    def sweep(self) -> str:
        return _hex(f"sweep {self.number // SWEEP}")[:32]

    @property
    def split(self) -> str:
        return _hex(f"split {self.dataset} {self.shots} {self.seed}")


def put_store(
    root: Path, *, runs: int, batches: int | None = None, is_merged: bool = False
) -> None:
    """Write runs with 50 metrics and 100 predictions each, their splits, and the requests for them.

    Args:
        root: folder of the store.
        runs: number of runs, a multiple of `SWEEP`.
        batches: number of files of each table, one a batch, as sweeps write them; few large ones, as compaction
            leaves them, when None.
        is_merged: let small files be merged after every batch, as `clip-adapter train` does.
    """
    every = list(_runs(runs))
    tables: dict[str, Callable[[Sequence[_Run]], pa.Table]] = {
        "splits": _splits,
        "predictions": _predictions,
        "metrics": _metrics,
        "runs": _run_rows,
        "requests": _requests,
    }
    for kind, build in tables.items():
        a_file = runs // batches if batches else ROWS_A_FILE.get(kind, runs)
        for first in range(0, runs, a_file):
            # Else batches with the same splits would share one file.
            stamp = str(first) if batches and kind == "splits" else ""
            _write(root, kind, build(every[first : first + a_file]), stamp=stamp)
            if is_merged:
                merge_run_files(root=root, reporter=Reporter())


def copy_runs(root: Path, *, to: Path, runs: int) -> None:
    """Write some runs of a store to another one, with all that belongs to them."""
    rows = _read(root, "runs").slice(0, runs)
    keys = {
        "runs": ("run_id", rows["run_id"]),
        "metrics": ("run_id", rows["run_id"]),
        "predictions": ("run_id", rows["run_id"]),
        "splits": ("split_fingerprint", rows["split_fingerprint"]),
        "requests": ("request_id", pc.unique(rows["sweep_id"])),
    }
    for kind, (name, values) in keys.items():
        table = _read(root, kind)
        _write(to, kind, table.filter(pc.is_in(table[name], value_set=values)))


def run_id(number: int) -> str:
    """The id of a run by its number, from 0."""
    return _hex(f"run {number}")[:32]


def parquet_of(root: Path, kind: str) -> str:
    """A pattern for the files of a table, for readers that know Parquet alone."""
    return str(root / "runs" / kind / "*.parquet")


def _write(root: Path, kind: str, table: pa.Table, *, stamp: str = "") -> None:
    rows = conform(table, getattr(schemas, kind.upper()), source=kind)
    write_table(root / "runs" / kind, rows, kind=kind, stamp=stamp)


def _read(root: Path, kind: str) -> pa.Table:
    files = list_files(root / "runs" / kind)
    return pa.concat_tables([read_table(file, kind=kind) for file in files])


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _runs(count: int) -> Iterator[_Run]:
    encoders = [_hex(f"encoder {number}") for number in range(2)]
    a_setting = len(DATASETS) * len(encoders) * len(METHODS) * SWEEP
    asked = product(range(-(-count // a_setting)), DATASETS, encoders, METHODS, SHOTS, SEEDS)
    for number, (place, dataset, encoder, method, shots, seed) in enumerate(asked):
        if number == count:
            return
        settings = _hex(f"settings {method} {place}")
        yield _Run(number, dataset, encoder, method, settings, shots, seed)


def _run_rows(runs: Sequence[_Run]) -> pa.Table:
    ratios = [
        {
            "settings": [("residual_ratio", ratio / 10)],
            "validation_accuracy": 0.5,
            "validation_nll": 1.0,
        }
        for ratio in range(5)
    ]
    shared: dict[str, Any] = {
        "class_names": [f"class {number}" for number in range(CLASSES)],
        "templates": ["a photo of a {}."],
        "model": "ViT-B-32:openai",
        "logit_scale": 100.0,
        "settings": {"residual_ratio": 0.2, "reduction": 4, "epochs": 200, "learning_rate": 0.001},
        "tried": ratios,
        "selected_on": "validation",
        "status": "completed",
        "seconds_encode": 1.0,
        "seconds_train": 0.5,
        "peak_memory_bytes": 10**9,
        "n_validation": 40,
        "n_test": IMAGES,
        "n_leaked": 0,
        "device": "cpu",
        "precision": "fp32",
        "versions": {
            "clip_adapter": "0",
            "python": "3",
            "torch": "2",
            "open_clip": "3",
            "numpy": "2",
        },
        "git_commit": "0" * 40,
        "image_choice": "own",
        "selection": "validation",
        "protocol": "all-classes",
    }
    rows = [
        {
            **shared,
            "run_id": run.run_id,
            "fingerprint": _hex(f"fingerprint {run.number}"),
            "sweep_id": run.sweep,
            "started_at": _START + timedelta(seconds=run.number // SWEEP),
            "dataset": run.dataset,
            "index_fingerprint": _hex(run.dataset),
            "split_fingerprint": run.split,
            "encoder": run.encoder,
            "method": run.method,
            "shots": run.shots,
            "seed": run.seed,
            "settings_fingerprint": run.settings,
            "hyperparameters": [("residual_ratio", "0.2"), ("reduction", "4"), ("epochs", "200")],
            "n_train": run.shots * CLASSES,
            "tested_on": {"dataset": run.dataset},
        }
        for run in runs
    ]
    return pa.Table.from_pylist(rows, schema=schemas.RUNS)


def _metrics(runs: Sequence[_Run]) -> pa.Table:
    dice = np.random.default_rng(runs[0].number)
    return pa.table(
        {
            "run_id": _repeated([run.run_id for run in runs], len(METRICS)),
            "split": [split for split, _ in METRICS] * len(runs),
            "name": [name for _, name in METRICS] * len(runs),
            "value": dice.random(len(runs) * len(METRICS)),
        }
    )


def _predictions(runs: Sequence[_Run]) -> pa.Table:
    dice = np.random.default_rng(runs[0].number)
    count = len(runs) * IMAGES
    label = np.tile(np.arange(IMAGES, dtype=np.int32) % CLASSES, len(runs))
    other = dice.integers(0, CLASSES, count, dtype=np.int32)
    confidence = dice.random(count, np.float32)
    images = {
        dataset: [
            hashlib.sha256(f"{dataset} {number}".encode()).digest() for number in range(IMAGES)
        ]
        for dataset in DATASETS
    }
    return pa.table(
        {
            "run_id": _repeated([run.run_id for run in runs], IMAGES),
            "position": np.tile(np.arange(IMAGES, dtype=np.int32), len(runs)),
            "image_sha256": pa.array(
                [digest for run in runs for digest in images[run.dataset]], pa.binary(32)
            ),
            "label": label,
            "predicted": np.where(dice.random(count) < 0.2, other, label),
            "confidence": confidence,
            "margin": confidence / 2,
            "split": _repeated(["test"], count),
            "fold": pa.nulls(count, pa.int32()),
            "label_probability": confidence,
        }
    )


def _splits(runs: Sequence[_Run]) -> pa.Table:
    rows = [
        {
            "split_fingerprint": run.split,
            "dataset": run.dataset,
            "index_fingerprint": _hex(run.dataset),
            "shots": run.shots,
            "seed": run.seed,
            "role": "train",
            "position": position,
            "image_sha256": hashlib.sha256(
                f"{run.dataset} {run.seed} {position}".encode()
            ).digest(),
            "label": position % CLASSES,
        }
        for run in {run.split: run for run in runs}.values()
        for position in range(run.shots * CLASSES)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.SPLITS)


def _requests(runs: Sequence[_Run]) -> pa.Table:
    """One request for each sweep, as `clip-adapter train` records it."""
    sweeps = [runs[first : first + SWEEP] for first in range(0, len(runs), SWEEP)]
    rows = [
        {
            "request_id": sweep[0].sweep,
            "sequence": sweep[0].number // SWEEP + 1,
            "asked_at": _START + timedelta(seconds=sweep[0].number // SWEEP),
            "command": "train",
            "dataset": sweep[0].dataset,
            "index_fingerprint": _hex(sweep[0].dataset),
            "encoder": sweep[0].encoder,
            "model": "ViT-B-32:openai",
            "parameters": "{}",
            "run_ids": [run.run_id for run in sweep],
            "run_fingerprints": [_hex(f"fingerprint {run.number}") for run in sweep],
        }
        for sweep in sweeps
    ]
    return pa.Table.from_pylist(rows, schema=schemas.REQUESTS)


def _repeated(values: Sequence[str], times: int) -> pa.Array:
    places = np.repeat(np.arange(len(values), dtype=np.int32), times)
    return pa.array(values, pa.string()).take(pa.array(places))
