"""The store of runs: a few immutable files a batch, below `<root>/runs/<table>`."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import schemas
from clip_adapter.runs.database import RunDatabase, query
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.records import (
    ImagePredictions,
    RunRecord,
    RunResult,
    Selection,
    SplitImages,
    SplitRecord,
)
from clip_adapter.runs.run_settings import Candidate, EvaluatedOn, RunSettings, Versions
from feature_cache import Location, read_tables, write_table
from feature_cache.schemas import conform, pick

_SELECTION: Mapping[str, Selection] = {
    "validation": "validation",
    "held-out shots": "held-out-shots",
    "training": "none",
    "nothing": "none",
}


@dataclass(frozen=True)
class RunStore:
    """The runs of a store; any number of processes may record at once.

    Attributes:
        root: location of the store; created when the first run is recorded.
    """

    root: Location

    def record(self, results: Sequence[RunResult]) -> list[Location]:
        """Write a batch of runs, which all become visible at once, or none of them.

        Recording the same batch again writes nothing.

        Returns:
            The files that hold the batch, at most one a table; none for an empty batch.

        Raises:
            RunStoreError: a run contradicts itself, or two results have the same run id.
            UnknownNameError: a run has a word that is not known, as its status.
            WrongSchemaError: a value is missing that every run must have.
            OSError: the disk or object store failed; no run of the batch is visible.
        """
        # Everything is checked before the first file is written.
        _check_distinct(results)
        for result in results:
            result.run.check()
        prepared = [
            (name, conform(build(results), schema, source=f"the {name} to record"))
            for name, build, schema in _TABLES
        ]
        return [
            write_table(self.root / "runs" / name, table, kind=name)
            for name, table in prepared
            if table.num_rows
        ]

    def completed(self, fingerprints: Iterable[str], *, dataset: str) -> set[str]:
        """The run fingerprints for which a completed run on a dataset is recorded with its results.

        Runs of another dataset do not count: a dataset that was renamed keeps its fingerprints, which
        another one of its former name may have as well. A run whose metrics, or predictions on the test split, are lost does not count, so that it
        is trained again.

        Raises:
            CorruptFileError, NewerFormatError: a file of runs is damaged or cannot be understood.
        """
        runs = self._read("runs", pick(schemas.RUNS, "run_id", "dataset", "fingerprint", "status"))
        measured = self._read("metrics", pick(schemas.METRICS, "run_id"))
        predicted = self._read("predictions", pick(schemas.PREDICTIONS, "run_id", "split"))
        # Earlier versions stored predictions on test images only, without the name of the split.
        import pyarrow.compute as pc  # noqa: PLC0415  # takes 0.1 s to import

        on_test = predicted.filter(pc.equal(pc.fill_null(predicted["split"], "test"), "test"))
        whole = _run_ids(measured) & _run_ids(on_test)
        done = {
            row["fingerprint"]
            for row in runs.to_pylist()
            if (row["dataset"], row["status"]) == (dataset, "completed") and row["run_id"] in whole
        }
        return done.intersection(fingerprints)

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        return read_tables(self.root / "runs" / name, kind=name, schema=schema)


def _run_ids(table: pa.Table) -> set[str]:
    return set(table["run_id"].unique().to_pylist())


def _check_distinct(results: Sequence[RunResult]) -> None:
    counts = Counter(result.run.run_id for result in results)
    repeated = sorted(run_id for run_id, count in counts.items() if count > 1)
    if repeated:
        raise RunStoreError(
            f"{len(repeated)} run ids occur more than once in a batch, the first is {repeated[0]}: "
            "give every execution a new id"
        )


RunView = Literal["current_runs", "study_runs", "protocol_runs"]
"""Views of the runs that count: those of a leaderboard, of studies, or of other protocols."""


def read_runs(
    database: RunDatabase, view: RunView = "current_runs", *, metrics: bool = True
) -> list[RunResult]:
    """Read the runs of a view, ordered by dataset, encoder, method, settings, shots and seed.

    Curves, predictions and splits are not read, only a digest of the training images. Where the test split chose a setting, "(oracle)"
    is appended to the name of the method.

    Args:
        database: database of the store.
        view: name of the view.
        metrics: read the metrics of the runs, and which images they were trained on, as well.
    """
    rows = database.query(f"FROM {view} ORDER BY {_ORDER}").to_pylist()
    trained_on: dict[str, str] = {}
    measured: dict[str, dict[tuple[str, str], float]] = {}
    if metrics:
        for row in database.query(f"FROM metrics SEMI JOIN {view} USING (run_id)").to_pylist():
            measured.setdefault(row["run_id"], {})[row["split"], row["name"]] = row["value"]
        for row in database.query("FROM training_sets").to_pylist():
            trained_on[row["split_fingerprint"]] = row["training_images"]
    return [
        RunResult(
            run=_run(row),
            metrics=measured.get(row["run_id"], {}),
            request=row["asked"],
            training_images=trained_on.get(row["split_fingerprint"]),
        )
        for row in rows
    ]


def find_run(root: Location, run_id: str) -> RunRecord:
    """Read the record of one run, whatever request or study it belongs to.

    Args:
        root: folder or URL of the store.
        run_id: id of the run, or its first digits.

    Raises:
        UnknownNameError: no run has that id; the message suggests the nearest.
        RunStoreError: several runs begin with these digits, or there is no store.
    """
    begins = "FROM runs WHERE run_id ^@ $id ORDER BY run_id"
    rows = query(root, begins, {"id": run_id}).to_pylist() if run_id else []
    if len(rows) > 1:
        ids = ", ".join(row["run_id"] for row in rows[:3])
        raise RunStoreError(
            f"{len(rows)} runs begin with {run_id!r}, as {ids}: write more digits of the id"
        )
    if not rows:
        known = query(root, "SELECT run_id FROM runs ORDER BY started_at DESC, run_id LIMIT 1000")
        raise UnknownNameError("run", run_id, known["run_id"].to_pylist())
    return _run(rows[0])


def read_one_each(
    database: RunDatabase,
    settings: Sequence[str],
    *,
    datasets: Sequence[str],
    encoders: Sequence[str],
) -> list[RunRecord]:
    """Read one completed run of each configuration, number of shots, dataset and encoder.

    Args:
        database: database of the store.
        settings: fingerprints of settings of the configurations.
        datasets: names of the datasets.
        encoders: fingerprints of the encoders.
    """
    asked = {"settings": list(settings), "datasets": list(datasets), "encoders": list(encoders)}
    return [_run(row) for row in database.query(_ONE_EACH, asked).to_pylist()]


_ONE_EACH = """
WITH first AS (
    SELECT min(run_id) AS run_id FROM runs
    WHERE status = 'completed' AND settings_fingerprint IN $settings
        AND dataset IN $datasets AND encoder IN $encoders
    GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots
)
FROM runs SEMI JOIN first USING (run_id)
ORDER BY dataset, encoder, method, settings_fingerprint, image_choice, shots
"""
_ORDER = "dataset, encoder, method, settings_fingerprint, shots, seed, started_at, run_id"


def _run(row: Mapping[str, Any]) -> RunRecord:
    values = {field.name: row[field.name] for field in fields(RunRecord) if field.name in row}
    settings = {field.name: row[field.name] for field in fields(RunSettings)}
    hyperparameters = row["hyperparameters"]
    values |= {
        "class_names": tuple(row["class_names"]),
        "templates": tuple(row["templates"]),
        "class_prompts": row["class_prompts"] and tuple(map(tuple, row["class_prompts"])),
        "settings": RunSettings(**settings),
        "tried": _tried(row["candidates"]),
        "versions": Versions(**row["versions"]),
        "hyperparameters": hyperparameters
        and {name: json.loads(value) for name, value in hyperparameters},
        "image_choice": row["image_choice"] or "own",
        "tested_on": row["tested_on"] and EvaluatedOn(**row["tested_on"]),
    }
    return RunRecord(**values)


def _tried(candidates: Sequence[Mapping[str, Any]] | None) -> tuple[Candidate, ...] | None:
    if candidates is None:
        return None
    return tuple(Candidate(**{**each, "settings": dict(each["settings"])}) for each in candidates)


def _runs_table(results: Sequence[RunResult]) -> pa.Table:
    """One row for each run, with those values that are None in a record and follow from others.

    The selection of a failed run and of an oracle stays null: neither follows a protocol.
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
        row["tested_on"] = {"dataset": run.dataset, "class_subset": None, "index_fingerprint": None}
    return row


def _as_json(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    """A list or number in place of a numpy value, a text in place of anything else."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _metrics_table(results: Sequence[RunResult]) -> pa.Table:
    """One row for each metric."""
    rows = [
        {"run_id": result.run.run_id, "split": split, "name": name, "value": value}
        for result in results
        for (split, name), value in result.metrics.items()
    ]
    return pa.Table.from_pylist(rows, schema=schemas.METRICS)


def _curves_table(results: Sequence[RunResult]) -> pa.Table:
    """One row for each point of a curve."""
    rows = [
        {"run_id": result.run.run_id, "step": step, "name": name, "value": value}
        for result in results
        for name, values in result.curves.items()
        for step, value in enumerate(values)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.CURVES)


def _predictions_table(results: Sequence[RunResult]) -> pa.Table:
    """One row for each predicted image."""
    return _concat(
        (
            _predictions_of(result.run.run_id, predictions)
            for result in results
            for predictions in (result.predictions, *result.other_predictions)
            if predictions is not None
        ),
        schemas.PREDICTIONS,
    )


def _splits_table(results: Sequence[RunResult]) -> pa.Table:
    """One row for each image of a few-shot split; a split that several runs share occurs once."""
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


# In the order they are written: a run's row comes last and makes the rest of the run count.
_TABLES = (
    ("splits", _splits_table, schemas.SPLITS),
    ("predictions", _predictions_table, schemas.PREDICTIONS),
    ("curves", _curves_table, schemas.CURVES),
    ("metrics", _metrics_table, schemas.METRICS),
    ("runs", _runs_table, schemas.RUNS),
)
