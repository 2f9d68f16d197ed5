"""Records as Arrow tables, one function a table at rest."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from clip_adapter.runs import schemas
from clip_adapter.runs.records import (
    ImagePredictions,
    RunRecord,
    RunResult,
    Selection,
    SplitImages,
    SplitRecord,
)

_SELECTION: Mapping[str, Selection] = {
    "validation": "validation",
    "held-out shots": "held-out-shots",
    "training": "none",
    "nothing": "none",
}


def runs_table(results: Sequence[RunResult]) -> pa.Table:
    """One row a run, with what is None in a record and follows from the rest of it.

    The selection of a failed run and of an oracle stays null: neither kept to a protocol.
    """
    return pa.Table.from_pylist([_run_row(result.run) for result in results], schema=schemas.RUNS)


def _run_row(run: RunRecord) -> dict[str, Any]:
    row = asdict(run)
    used = row["hyperparameters"]
    if used is None:
        used = {name: value for name, value in row["settings"].items() if value is not None}
    row["hyperparameters"] = {name: _as_json(value) for name, value in used.items()}
    if run.selection is None and run.status == "completed":
        row["selection"] = _SELECTION.get(run.selected_on)
    if run.tested_on is None:
        row["tested_on"] = {"dataset": run.dataset, "class_subset": None}
    return row


def _as_json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """A list or number in place of a numpy value, a text in place of anything else."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def metrics_table(results: Sequence[RunResult]) -> pa.Table:
    """One row a metric of each run."""
    rows = [
        {"run_id": result.run.run_id, "split": split, "name": name, "value": value}
        for result in results
        for (split, name), value in result.metrics.items()
    ]
    return pa.Table.from_pylist(rows, schema=schemas.METRICS)


def curves_table(results: Sequence[RunResult]) -> pa.Table:
    """One row a point of each run's curves."""
    rows = [
        {"run_id": result.run.run_id, "step": step, "name": name, "value": value}
        for result in results
        for name, values in result.curves.items()
        for step, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.CURVES)


def predictions_table(results: Sequence[RunResult]) -> pa.Table:
    """One row an image that a run judged."""
    return _concat(
        (
            _predictions_of(result.run.run_id, predictions)
            for result in results
            for predictions in (result.predictions, *result.other_predictions)
            if predictions is not None
        ),
        schemas.PREDICTIONS,
    )


def splits_table(results: Sequence[RunResult]) -> pa.Table:
    """One row an image of a few-shot split; a split that several runs share comes once."""
    by_fingerprint = {
        result.split.split_fingerprint: result.split
        for result in results
        if result.split is not None
    }
    return _concat(
        (
            _images_of(split, role, images)
            for split in by_fingerprint.values()
            for role, images in (("train", split.train), ("validation", split.validation))
        ),
        schemas.SPLITS,
    )


def _predictions_of(run_id: str, predictions: ImagePredictions) -> pa.Table:
    n_images = len(predictions.image_sha256)
    unknown = [None] * n_images
    columns = {
        "run_id": [run_id] * n_images,
        "position": np.arange(n_images),
        "image_sha256": predictions.image_sha256,
        "label": predictions.label,
        "predicted": predictions.predicted,
        "confidence": predictions.confidence,
        "margin": predictions.margin,
        "split": [predictions.split] * n_images,
        "fold": [predictions.fold] * n_images,
        "label_probability": (
            unknown if predictions.label_probability is None else predictions.label_probability
        ),
    }
    return _table(columns, schemas.PREDICTIONS)


def _images_of(split: SplitRecord, role: str, images: SplitImages) -> pa.Table:
    n_images = len(images.image_sha256)
    columns = {
        "split_fingerprint": [split.split_fingerprint] * n_images,
        "dataset": [split.dataset] * n_images,
        "index_fingerprint": [split.index_fingerprint] * n_images,
        "shots": [split.shots] * n_images,
        "seed": [split.seed] * n_images,
        "role": [role] * n_images,
        "position": np.arange(n_images),
        "image_sha256": images.image_sha256,
        "label": images.label,
    }
    return _table(columns, schemas.SPLITS)


def _table(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    # pyarrow refuses numbers that do not fit the column: a label of 2**40, say.
    arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _concat(tables: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *tables])
