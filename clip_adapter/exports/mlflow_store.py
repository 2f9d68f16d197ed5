"""Recorded runs as a tracking store that MLflow opens: a SQLite database, and artifacts beside it.

The database has the tables of MLflow 1.3. A newer MLflow finds its own tables missing, and brings the
database to its schema when it opens it first: so one form is read by every MLflow since, without a
dependency on any. MLflow's older form, a folder of text files, is refused by MLflow 3.13 and newer.
"""

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from clip_adapter.exports.clip_benchmark import check_datasets, check_folder, model_and_pretrained
from clip_adapter.runs import (
    DamagedChampionError,
    PromotionRecord,
    PromotionStore,
    RunDatabase,
    RunSettings,
    connect,
)
from clip_adapter.shots import shots_in_words, shots_to_text
from feature_cache import Location
from feature_cache.exchange.atomic_write import new_folder

DATABASE, ARTIFACTS = "mlflow.db", "mlartifacts"
"""Names under which `mlflow server` looks for both in the folder that it is started in."""
_FILES = re.compile(rf"{re.escape(DATABASE)}(-wal|-shm|-journal)?|{ARTIFACTS}")
CLASSIFIER_FILE = "classifier.safetensors"
_LARGEST_TEXT = 5000
"""Largest number of characters of a tag in the schema."""
_LARGEST_NUMBER = 1.7976931348623157e308
"""Value by which MLflow stores an infinite metric."""

_SCHEMA = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version VALUES ('7ac759974ad8');
CREATE TABLE experiments (
    experiment_id INTEGER NOT NULL,
    name VARCHAR(256) NOT NULL,
    artifact_location VARCHAR(256),
    lifecycle_stage VARCHAR(32),
    CONSTRAINT experiment_pk PRIMARY KEY (experiment_id),
    CONSTRAINT experiments_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')),
    UNIQUE (name)
);
CREATE TABLE experiment_tags (
    key VARCHAR(250) NOT NULL,
    value VARCHAR(5000),
    experiment_id INTEGER NOT NULL,
    CONSTRAINT experiment_tag_pk PRIMARY KEY (key, experiment_id),
    FOREIGN KEY (experiment_id) REFERENCES experiments (experiment_id)
);
CREATE TABLE runs (
    run_uuid VARCHAR(32) NOT NULL,
    name VARCHAR(250),
    source_type VARCHAR(20),
    source_name VARCHAR(500),
    entry_point_name VARCHAR(50),
    user_id VARCHAR(256),
    status VARCHAR(20),
    start_time BIGINT,
    end_time BIGINT,
    source_version VARCHAR(50),
    lifecycle_stage VARCHAR(20),
    artifact_uri VARCHAR(200),
    experiment_id INTEGER,
    CONSTRAINT run_pk PRIMARY KEY (run_uuid),
    CONSTRAINT source_type CHECK (
        source_type IN ('NOTEBOOK', 'JOB', 'LOCAL', 'UNKNOWN', 'PROJECT')
    ),
    CONSTRAINT status CHECK (status IN ('SCHEDULED', 'FAILED', 'FINISHED', 'RUNNING')),
    CONSTRAINT runs_lifecycle_stage CHECK (lifecycle_stage IN ('active', 'deleted')),
    FOREIGN KEY (experiment_id) REFERENCES experiments (experiment_id)
);
CREATE TABLE tags (
    key VARCHAR(250) NOT NULL,
    value VARCHAR(5000),
    run_uuid VARCHAR(32) NOT NULL,
    CONSTRAINT tag_pk PRIMARY KEY (key, run_uuid),
    FOREIGN KEY (run_uuid) REFERENCES runs (run_uuid)
);
CREATE TABLE params (
    key VARCHAR(250) NOT NULL,
    value VARCHAR(250) NOT NULL,
    run_uuid VARCHAR(32) NOT NULL,
    CONSTRAINT param_pk PRIMARY KEY (key, run_uuid),
    FOREIGN KEY (run_uuid) REFERENCES runs (run_uuid)
);
CREATE TABLE metrics (
    key VARCHAR(250) NOT NULL,
    value FLOAT NOT NULL,
    timestamp BIGINT NOT NULL,
    run_uuid VARCHAR(32) NOT NULL,
    step BIGINT DEFAULT '0' NOT NULL,
    is_nan BOOLEAN DEFAULT '0' NOT NULL,
    CONSTRAINT metric_pk PRIMARY KEY (key, timestamp, step, run_uuid, value, is_nan),
    FOREIGN KEY (run_uuid) REFERENCES runs (run_uuid)
);
"""

_RUNS = """
SELECT runs.*, current_runs.run_id IS NOT NULL AS is_current
FROM runs LEFT JOIN (SELECT run_id FROM current_runs) AS current_runs USING (run_id)
WHERE len($datasets) = 0 OR dataset IN $datasets
ORDER BY dataset, started_at, run_id
"""
_METRICS = """
SELECT run_id, split || '/' || name AS key, value, 0 AS step, started_at
FROM metrics JOIN runs USING (run_id) WHERE len($datasets) = 0 OR dataset IN $datasets
UNION ALL
SELECT run_id, 'curve/' || name, value, step, started_at
FROM curves JOIN runs USING (run_id) WHERE len($datasets) = 0 OR dataset IN $datasets
"""
_TAGS = (
    *("encoder", "study", "error", "selected_on", "selection", "image_choice", "protocol"),
    *("device", "precision", "fingerprint", "settings_fingerprint", "index_fingerprint"),
    *("split_fingerprint", "sweep_id"),
)
"""Columns of a run that become tags."""
_NUMBERS = (
    *("seconds_train", "seconds_encode", "peak_memory_bytes"),
    *("n_train", "n_validation", "n_test", "n_leaked"),
)
"""Columns of a run that become metrics."""


def write_mlflow(
    root: Location, path: Path, *, datasets: Sequence[str] = (), overwrite: bool = False
) -> int:
    """Write the runs of a store as a folder that `mlflow server` shows when it is started there.

    A dataset becomes an experiment, and a run of the view `runs` a run with its id; failed runs and those
    of studies are among them. Settings are parameters as they were finally used, beside `method`,
    `model`, `shots` and `seed`; metrics are called `split/name`, as `test/accuracy`, and curves
    `curve/name`. A run whose classifier was promoted has its file as an artifact. The duration of
    a run is that of its training. `is_current` is "true" for the runs of the leaderboard.

    Args:
        root: location of the store.
        path: the folder to write; `mlflow.db` and `mlartifacts/` in it.
        datasets: names of the datasets to write; all when empty.
        overwrite: replace a folder that exists.

    Returns:
        The number of runs.

    Raises:
        RunStoreError: there is no store, or no run to write.
        UnknownNameError: a dataset has no runs.
        InvalidInputError: the folder exists, or one that is to be replaced holds other files.
        OSError: the disk failed; nothing is left behind.
    """
    check_datasets(root, datasets)
    if overwrite:
        check_folder(path, _FILES)
    with (
        connect(root) as database,
        new_folder(path, overwrite=overwrite) as folder,
        closing(sqlite3.connect(folder / DATABASE)) as target,
    ):
        target.executescript(_SCHEMA)
        experiments = _write_runs(database, target, datasets)
        _write_metrics(database, target, datasets)
        for record in _promotions(root, experiments):
            _write_classifier(root, record, target, folder / ARTIFACTS, experiments)
        target.commit()
        (n_runs,) = target.execute("SELECT count(*) FROM runs").fetchone()
    return int(n_runs)


def _write_runs(
    database: RunDatabase, target: sqlite3.Connection, datasets: Sequence[str]
) -> dict[str, int]:
    """Write runs with their parameters and tags; returns the number of each dataset's experiment."""
    experiments: dict[str, int] = {}
    for row in _rows(database, _RUNS, datasets):
        if row["dataset"] not in experiments:
            experiments[row["dataset"]] = number = len(experiments) + 1
            target.execute(
                "INSERT INTO experiments VALUES (?, ?, ?, 'active')",
                (number, row["dataset"], f"mlflow-artifacts:/{number}"),
            )
        _write_run(row, target, experiments[row["dataset"]])
    return experiments


def _write_run(row: Mapping[str, Any], target: sqlite3.Connection, experiment: int) -> None:
    run_id, start = row["run_id"], _milliseconds(row["started_at"])
    status = "FINISHED" if row["status"] == "completed" else "FAILED"
    tags = _tags(row)
    target.execute(
        "INSERT INTO runs VALUES (?, ?, 'LOCAL', 'clip-adapter', '', '', ?, ?, ?, ?, 'active', ?, ?)",
        (
            *(run_id, tags["mlflow.runName"], status),
            *(start, start + round(1000 * row["seconds_train"]), row["git_commit"] or ""),
            *(f"mlflow-artifacts:/{experiment}/{run_id}/artifacts", experiment),
        ),
    )
    for table, values in (("params", _parameters(row)), ("tags", tags)):
        target.executemany(
            f"INSERT INTO {table} (key, value, run_uuid) VALUES (?, ?, ?)",  # one of two names
            [(key, value[:_LARGEST_TEXT], run_id) for key, value in values.items()],
        )
    numbers = ((name, float(row[name])) for name in _NUMBERS)
    _insert_metrics(target, [(name, value, start, run_id, 0) for name, value in numbers])


def _parameters(row: Mapping[str, Any]) -> dict[str, str]:
    """What was asked for, and the settings as finally used; one of the same name has its method before it."""
    model, pretrained = model_and_pretrained(row["model"])
    asked = {
        "method": row["method"],
        "model": f"{model}:{pretrained}" if pretrained else model,
        "shots": shots_to_text(row["shots"]),
        "seed": "" if row["seed"] is None else str(row["seed"]),
    }
    settings = {
        f"{row['method']}.{name}" if name in asked else name: value
        for name, value in _settings(row).items()
    }
    return {**asked, **settings}


def _settings(row: Mapping[str, Any]) -> dict[str, str]:
    if row["hyperparameters"] is not None:
        return {name: _plain(value) for name, value in row["hyperparameters"]}
    # Earlier versions recorded the settings that have a column.
    columns = {each.name: row[each.name] for each in fields(RunSettings)}
    return {name: str(value) for name, value in columns.items() if value is not None}


def _plain(value: str) -> str:
    """A setting's JSON as a person writes it: a text without quotes."""
    decoded = json.loads(value)
    return decoded if isinstance(decoded, str) else value


def _tags(row: Mapping[str, Any]) -> dict[str, str]:
    parts = [row["method"], shots_in_words(row["shots"]) if row["shots"] else ""]
    name = ", ".join(filter(None, [*parts, "" if row["seed"] is None else f"seed {row['seed']}"]))
    tags = {
        "mlflow.runName": name[:250],
        "mlflow.source.name": "clip-adapter",
        "mlflow.source.type": "LOCAL",
        "is_current": str(row["is_current"]).lower(),
    }
    if row["git_commit"]:
        tags["mlflow.source.git.commit"] = row["git_commit"]
    return tags | {column: str(row[column]) for column in _TAGS if row[column] not in {None, ""}}


def _write_metrics(
    database: RunDatabase, target: sqlite3.Connection, datasets: Sequence[str]
) -> None:
    rows = _rows(database, _METRICS, datasets)
    _insert_metrics(
        target,
        (
            (row["key"], row["value"], _milliseconds(row["started_at"]), row["run_id"], row["step"])
            for row in rows
        ),
    )


def _insert_metrics(
    target: sqlite3.Connection, metrics: Iterable[tuple[str, float, int, str, int]]
) -> None:
    # MLflow has a column for NaN, and no infinity.
    target.executemany(
        "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)",
        (
            (
                key[:250],
                0.0 if math.isnan(value) else max(-_LARGEST_NUMBER, min(value, _LARGEST_NUMBER)),
                *(timestamp, run_id, step, math.isnan(value)),
            )
            for key, value, timestamp, run_id, step in metrics
        ),
    )


def _rows(database: RunDatabase, sql: str, datasets: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in database.query(sql, {"datasets": list(datasets)}).to_batches():
        yield from batch.to_pylist()


def _promotions(root: Location, datasets: Iterable[str]) -> list[PromotionRecord]:
    """The decisions that made a classifier a champion, in order."""
    store = PromotionStore(root)
    return [
        record
        for dataset in datasets
        for record in store.history(dataset)
        if record.decision == "promoted"
    ]


def _write_classifier(
    root: Location,
    record: PromotionRecord,
    target: sqlite3.Connection,
    artifacts: Path,
    experiments: Mapping[str, int],
) -> None:
    """Copy a promoted classifier's file to the artifacts of its run, and tag the run.

    A run whose file is damaged has the tag `classifier_error` instead.
    """
    if not target.execute("SELECT 1 FROM runs WHERE run_uuid = ?", [record.run_id]).fetchone():
        return  # the file of the run is lost
    tags = {"promoted": record.reason}
    try:
        content = PromotionStore(root).read(record).content
    except DamagedChampionError as error:
        tags["classifier_error"] = str(error)
    else:
        folder = artifacts / str(experiments[record.dataset]) / record.run_id / "artifacts"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CLASSIFIER_FILE).write_bytes(content)
    target.executemany(
        "INSERT OR REPLACE INTO tags (key, value, run_uuid) VALUES (?, ?, ?)",
        [(key, value[:_LARGEST_TEXT], record.run_id) for key, value in tags.items()],
    )


def _milliseconds(time: datetime) -> int:
    return round(1000 * time.timestamp())
