"""The leaderboard by MLflow's search, in an environment of its own: needs MLflow and nothing of this project.

`python mlflow_side.py RUNS.parquet METRICS.parquet FOLDER` puts the runs into a SQLite tracking store in the
folder and prints, as JSON, the version, the seconds of the search, first and again, the peak in bytes, and the
mean accuracy of each row of the leaderboard.
"""

import json
import os
import resource
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

KEY = ("dataset", "encoder", "method", "settings_fingerprint", "shots")


def main(runs_file: str, metrics_file: str, folder: str) -> None:
    """Fill a tracking store, search it twice, and print seconds, memory and means."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow  # noqa: PLC0415  # after the setting above
    import pyarrow.parquet as pq  # noqa: PLC0415  # as MLflow has it

    file = Path(folder) / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{file}")
    experiment = mlflow.create_experiment("runs", artifact_location=folder)
    runs = pq.ParquetFile(runs_file).read().to_pylist()
    metrics = pq.ParquetFile(metrics_file).read().to_pylist()
    with closing(sqlite3.connect(file)) as database, database:
        _fill(database, int(experiment), runs, metrics)
    seconds, means = [], {}
    for _ in range(2):
        start = time.perf_counter()
        found = mlflow.search_runs(experiment_ids=[experiment], max_results=50_000)
        board = found.groupby([f"params.{name}" for name in KEY])["metrics.test/accuracy"].mean()
        seconds.append(time.perf_counter() - start)
        means = {"/".join(key): value for key, value in board.items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer = {"version": mlflow.__version__, "seconds": seconds, "peak_bytes": peak, "means": means}
    print(json.dumps(answer))  # noqa: T201  # the answer


def _fill(
    database: sqlite3.Connection,
    experiment: int,
    runs: list[dict[str, Any]],
    metrics: list[dict[str, Any]],
) -> None:
    """Insert the rows that MLflow's client would, which takes minutes over ten thousand runs."""
    _insert(
        database,
        "runs",
        [
            {
                "run_uuid": run["run_id"],
                "name": run["method"],
                "source_type": "LOCAL",
                "source_name": "",
                "entry_point_name": "",
                "user_id": "user",
                "status": "FINISHED",
                "start_time": number,
                "end_time": number + 1,
                "source_version": "",
                "lifecycle_stage": "active",
                "artifact_uri": "artifacts",
                "experiment_id": experiment,
            }
            for number, run in enumerate(runs)
        ],
    )
    _insert(
        database,
        "params",
        [
            {"key": name, "value": str(run[name]), "run_uuid": run["run_id"]}
            for run in runs
            for name in (*KEY, "seed")
        ],
    )
    values = [
        {
            "key": f"{row['split']}/{row['name']}",
            "value": row["value"],
            "timestamp": 0,
            "run_uuid": row["run_id"],
            "step": 0,
            "is_nan": 0,
        }
        for row in metrics
    ]
    _insert(database, "metrics", values)
    _insert(database, "latest_metrics", values)


def _insert(database: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    marks = ", ".join(f":{name}" for name in names)
    # Names of MLflow's own tables and columns.
    sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"
    database.executemany(sql, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
