"""The same questions to the views of a store, and to DuckDB over the same Parquet files."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from benchmarks.bulk_store import SWEEP, parquet_of, run_id
from benchmarks.processes import peak_bytes
from clip_adapter import connect

Side = Literal["views", "by_hand"]
Ask = Callable[[str], pa.Table]
_KEY = "dataset, encoder, method, settings_fingerprint, shots"
_BOARD = f"{_KEY}, seeds, accuracy_mean, accuracy_min, accuracy_max, nll_mean"
_FILTERED = "dataset = 'dataset-0' AND shots = 16"

# Written for one store, of which is known that no run was recorded twice, and that all are current.
_BOARD_BY_HAND = """
WITH scores AS (
    SELECT run_id, max(value) FILTER (name = 'accuracy') AS accuracy,
        max(value) FILTER (name = 'nll') AS nll
    FROM metrics WHERE split = 'test' AND name IN ('accuracy', 'nll') GROUP BY run_id
)
SELECT dataset, encoder, method, settings_fingerprint, shots, count(*)::INTEGER AS seeds,
    avg(accuracy) AS accuracy_mean, stddev_samp(accuracy) AS deviation, min(accuracy) AS accuracy_min,
    max(accuracy) AS accuracy_max, avg(nll) AS nll_mean
FROM runs JOIN scores USING (run_id) WHERE status = 'completed' AND {condition}
GROUP BY ALL ORDER BY ALL
"""
_CLASSES_OF_RUNS = """
SELECT label, count(*) AS n, avg(correct::INTEGER) AS recall
FROM predictions WHERE run_id IN ({run_ids}) GROUP BY label ORDER BY label
"""
_DISAGREEMENTS_OF_RUNS = """
SELECT image_sha256, one.predicted AS predicted, other.predicted AS predicted_by_other
FROM predictions AS one JOIN predictions AS other USING (image_sha256)
WHERE one.run_id = '{one}' AND other.run_id = '{other}' AND one.predicted <> other.predicted
ORDER BY image_sha256
"""
_CLASSES_BY_HAND = """
WITH confusion AS (
    SELECT dataset, encoder, method, settings_fingerprint, shots, label, predicted, count(*) AS n,
        any_value(class_names[label + 1]) AS class_name
    FROM predictions JOIN runs USING (run_id) WHERE status = 'completed' GROUP BY ALL
),
by_label AS (
    SELECT dataset, encoder, method, settings_fingerprint, shots, label,
        any_value(class_name) AS class_name, sum(n) AS n,
        coalesce(sum(n) FILTER (label = predicted), 0) AS hits
    FROM confusion GROUP BY ALL
),
by_prediction AS (
    SELECT dataset, encoder, method, settings_fingerprint, shots, predicted AS label, sum(n) AS n_predicted
    FROM confusion GROUP BY ALL
)
SELECT dataset, encoder, method, settings_fingerprint, shots, class_name, n::INTEGER AS n,
    hits / n AS recall, hits / n_predicted AS precision
FROM by_label LEFT JOIN by_prediction
    USING (dataset, encoder, method, settings_fingerprint, shots, label)
"""
_VIEWS_BY_HAND = {
    "runs": "SELECT * FROM read_parquet('{files}')",
    "metrics": "SELECT * FROM read_parquet('{files}')",
    "predictions": "SELECT * REPLACE (lower(hex(image_sha256)) AS image_sha256), "
    "label = predicted AS correct FROM read_parquet('{files}')",
}

OPENING = "opening"
BOARD, AGAIN = "leaderboard, first", "leaderboard, again"
FILTERED = "leaderboard of a dataset at 16 shots"
CLASSES_OF_RUNS = "recall of each class of 10 named runs"
DISAGREEMENTS = "images on which two named runs disagree"
CLASSES = "the whole of `per_class`"
COMPARED = {
    BOARD: _BOARD,
    FILTERED: _BOARD,
    CLASSES_OF_RUNS: "label, n, recall",
    DISAGREEMENTS: "image_sha256, predicted, predicted_by_other",
    CLASSES: f"{_KEY}, class_name, n, recall, precision",
}
"""The columns in which both sides have to agree, by question."""


@dataclass(frozen=True)
class Asked:
    """What a process took to ask.

    Attributes:
        seconds: seconds by question, `OPENING` included.
        peaks: peak memory in bytes by question, after it was answered.
    """

    seconds: Mapping[str, float]
    peaks: Mapping[str, int]


def ask_in_turn(root: Path, *, side: Side, questions: tuple[str, ...]) -> Asked:
    """Ask a store several questions one after the other."""
    seconds, peaks = {}, {}
    start = time.perf_counter()
    with _opened(root, side) as ask:
        seconds[OPENING], peaks[OPENING] = time.perf_counter() - start, peak_bytes()
        statements = _statements(side)
        for question in questions:
            start = time.perf_counter()
            ask(statements[question])
            seconds[question] = time.perf_counter() - start
            peaks[question] = peak_bytes()
    return Asked(seconds, peaks)


def differing_answers(root: Path, *, questions: tuple[str, ...]) -> list[str]:
    """The questions to which both sides give different answers."""
    answers: dict[str, list[list[dict[str, Any]]]] = {question: [] for question in questions}
    sides: tuple[Side, ...] = ("views", "by_hand")
    for side in sides:
        with _opened(root, side) as ask:
            for question in questions:
                statement, columns = _statements(side)[question], COMPARED[question]
                sql = f"SELECT {columns} FROM ({statement}) ORDER BY ALL"
                answers[question].append(ask(sql).to_pylist())
    return [
        question
        for question, (one, other) in answers.items()
        if not one
        or len(one) != len(other)
        or not all(_is_same(a, b) for a, b in zip(one, other, strict=True))
    ]


def board_means(root: Path) -> tuple[float, int, dict[str, float]]:
    """Seconds to open a store and ask for its leaderboard, the peak in bytes, and the mean of each row."""
    start = time.perf_counter()
    with connect(root) as database:
        table = database.query("FROM leaderboard")
    seconds = time.perf_counter() - start
    means = {
        "/".join(str(row[name]) for name in _KEY.split(", ")): row["accuracy_mean"]
        for row in table.to_pylist()
    }
    return seconds, peak_bytes(), means


def _statements(side: Side) -> dict[str, str]:
    """The SQL of each question."""
    named = ", ".join(f"'{run_id(number)}'" for number in range(10))
    both = {
        CLASSES_OF_RUNS: _CLASSES_OF_RUNS.format(run_ids=named),
        # Of two methods, trained on the same images.
        DISAGREEMENTS: _DISAGREEMENTS_OF_RUNS.format(one=run_id(0), other=run_id(SWEEP)),
    }
    if side == "views":
        board = "SELECT * FROM leaderboard"
        filtered = f"{board} WHERE {_FILTERED}"
        return {**both, BOARD: board, AGAIN: board, FILTERED: filtered, CLASSES: "FROM per_class"}
    board, filtered = (_BOARD_BY_HAND.format(condition=each) for each in ("true", _FILTERED))
    return {**both, BOARD: board, AGAIN: board, FILTERED: filtered, CLASSES: _CLASSES_BY_HAND}


@contextmanager
def _opened(root: Path, side: Side) -> Iterator[Ask]:
    """What answers SQL of one side."""
    if side == "views":
        with connect(root) as database:
            yield database.query
        return
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET enable_progress_bar = false")
        for name, sql in _VIEWS_BY_HAND.items():
            connection.execute(f"CREATE VIEW {name} AS {sql.format(files=parquet_of(root, name))}")
        yield lambda sql: connection.sql(sql).to_arrow_table()


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        math.isclose(value, other[name], rel_tol=1e-9)
        if isinstance(value, float) and other[name] is not None
        else value == other[name]
        for name, value in one.items()
    )
