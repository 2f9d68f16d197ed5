"""SQL over 100,000 recorded runs, beside DuckDB by hand over the same files, and MLflow's search."""

import json
import math
import os
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import mlflow_side
from benchmarks.bulk_store import IMAGES, METRICS, copy_runs, parquet_of, put_store
from benchmarks.processes import Measured, call_alone
from benchmarks.records import Figures, Value
from benchmarks.results_database_sides import (
    AGAIN,
    BOARD,
    CLASSES,
    CLASSES_OF_RUNS,
    DISAGREEMENTS,
    FILTERED,
    OPENING,
    Asked,
    Side,
    ask_in_turn,
    board_means,
    differing_answers,
)

RUNS, BATCHES, FEW_RUNS, ROUNDS = 100_000, 1_000, 10_000, 3
QUICK = 10
"""A quick look takes a tenth of everything, and one round."""
MLFLOW = "CLIP_ADAPTER_BENCH_MLFLOW"
"""Environment variable with the Python of an environment that has MLflow."""
QUESTIONS = (BOARD, AGAIN, FILTERED, CLASSES_OF_RUNS, DISAGREEMENTS, CLASSES)
ABOUT = (
    "seconds of questions to a store of 100,000 runs with 50 metrics and 100 predictions each, one after the "
    "other in one process, compacted, and the leaderboard over 1,000 batches: the views over "
    "hand-written DuckDB on the same Parquet files, which verifies nothing and takes every row for current; "
    "processes taking turns, the median of three rounds; and MLflow's search over 10,000 of these runs in its "
    "SQLite store, with the means by pandas, over the leaderboard, opening included"
)


@dataclass(frozen=True)
class _Row:
    """A question with what both sides took, in seconds, and the peaks in MB."""

    question: str
    views: float
    by_hand: float
    views_mb: int
    by_hand_mb: int


def measure_results_database(place: Path, *, quick: bool) -> Figures:
    """Measure every question on both sides, and MLflow where it is there."""
    share = QUICK if quick else 1
    runs, batches, rounds = RUNS // share, BATCHES // share, 1 if quick else ROUNDS
    compacted, trained, uncompacted = (
        place / name for name in ("compacted", "trained", "uncompacted")
    )
    call_alone(put_store, root=compacted, runs=runs)
    rows = _rows(compacted, questions=QUESTIONS, rounds=rounds)
    board = (BOARD, AGAIN)
    call_alone(put_store, root=trained, runs=runs, batches=batches, is_merged=True)
    rows_of_trained = _rows(trained, questions=board, rounds=rounds)
    call_alone(put_store, root=uncompacted, runs=runs, batches=batches)
    rows_of_batches = _rows(uncompacted, questions=board, rounds=rounds)
    mlflow = _beside_mlflow(compacted, place, runs=FEW_RUNS // share)
    seconds = {row.question: row.views for row in rows}
    details: dict[str, Value] = {
        "runs": runs,
        "metrics_a_run": len(METRICS),
        "predictions_a_run": IMAGES,
    }
    details |= {"uncompacted_batches": batches, "rounds": rounds}
    for store, measured in (
        ("compacted", rows),
        ("as trained", rows_of_trained),
        ("uncompacted", rows_of_batches),
    ):
        details |= _details(measured, store)
    details |= mlflow.details
    headlines = {"leaderboard_100k_seconds": seconds[BOARD]}
    if mlflow.ratio is not None:
        headlines["leaderboard_over_mlflow_10k"] = mlflow.ratio
    lines = [
        *_lines(rows),
        f"[bold]{batches:,} batches as training leaves them[/]",
        *_lines(rows_of_trained),
        f"[bold]{batches:,} batches that were never merged[/]",
        *_lines(rows_of_batches),
        mlflow.line,
    ]
    return Figures(
        name="results_database",
        about=ABOUT,
        headlines={} if quick else headlines,
        details=details,
        lines=tuple(lines),
        page=_page(
            {
                f"{runs:,} runs, compacted": rows,
                f"The same runs in {batches:,} batches, of which training merges small files": rows_of_trained,
                f"The same runs in {batches:,} batches that were never merged": rows_of_batches,
            },
            beside_mlflow=mlflow.line,
        ),
    )


def _rows(root: Path, *, questions: tuple[str, ...], rounds: int) -> list[_Row]:
    """Let both sides take turns, and check that they agree.

    Raises:
        RuntimeError: the sides give different answers.
    """
    compared = tuple(question for question in questions if question != AGAIN)
    if differing := call_alone(differing_answers, root=root, questions=compared).answer:
        raise RuntimeError(f"views and DuckDB by hand answer differently: {', '.join(differing)}")
    sides: tuple[Side, ...] = ("views", "by_hand")
    asked: dict[str, list[Measured[Asked]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            measured = call_alone(ask_in_turn, root=root, side=side, questions=questions)
            asked[side].append(measured)
    views, by_hand = (
        {
            question: (
                statistics.median(each.answer.seconds[question] for each in asked[side]),
                round(statistics.median(each.answer.peaks[question] for each in asked[side]) / 1e6),
            )
            for question in (OPENING, *questions)
        }
        for side in sides
    )
    return [
        _Row(name, views[name][0], by_hand[name][0], views[name][1], by_hand[name][1])
        for name in views
    ]


@dataclass(frozen=True)
class _Search:
    """MLflow's search beside the leaderboard; the ratio is None where it was not measured."""

    line: str
    ratio: float | None
    details: dict[str, Value]


def _beside_mlflow(root: Path, place: Path, *, runs: int) -> _Search:
    """Raises RuntimeError if the two leaderboards have different means."""
    python = os.environ.get(MLFLOW)
    if not python:
        line = f"MLflow was not measured: set {MLFLOW} to the Python of an environment that has it"
        return _Search(line=line, ratio=None, details={"mlflow": "not measured"})
    few = place / "few"
    call_alone(copy_runs, root=root, to=few, runs=runs)
    found = _search(python, few, place)
    measured = [call_alone(board_means, root=few).answer for _ in range(ROUNDS)]
    ours = statistics.median(seconds for seconds, _, _ in measured)
    means = measured[0][2]
    if means.keys() != found["means"].keys() or not all(
        math.isclose(means[key], value, rel_tol=1e-6) for key, value in found["means"].items()
    ):
        raise RuntimeError("MLflow's means are not those of the leaderboard")
    theirs = min(found["seconds"])
    line = (
        f"{runs:,} of these runs: the leaderboard {ours:.2f} s, MLflow {found['version']} {theirs:.1f} s "
        f"(SQLite store, search_runs and pandas; the faster of two), {theirs / ours:.0f} times as long; peaks "
        f"{measured[0][1] / 1e6:,.0f} and {found['peak_bytes'] / 1e6:,.0f} MB"
    )
    details: dict[str, Value] = {
        "mlflow": found["version"],
        "mlflow_runs": runs,
        "mlflow_seconds": _rounded(theirs),
        "leaderboard_10k_seconds": _rounded(ours),
    }
    return _Search(line=line, ratio=theirs / ours, details=details)


def _search(python: str, root: Path, place: Path) -> dict[str, Any]:
    with duckdb.connect(":memory:") as connection:
        for kind in ("runs", "metrics"):
            connection.execute(
                f"COPY (FROM read_parquet('{parquet_of(root, kind)}')) TO '{place / kind}.parquet'"
            )
    command = [
        python,
        mlflow_side.__file__,
        *(f"{place / kind}.parquet" for kind in ("runs", "metrics")),
    ]
    done = subprocess.run([*command, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"MLflow's side failed: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _details(rows: list[_Row], store: str) -> dict[str, Value]:
    return {
        f"{store}: {row.question}": {
            "seconds": _rounded(row.views),
            "by_hand_seconds": _rounded(row.by_hand),
            "peak_megabytes": row.views_mb,
            "by_hand_peak_megabytes": row.by_hand_mb,
        }
        for row in rows
    }


def _lines(rows: list[_Row]) -> Iterator[str]:
    for row in rows:
        yield (
            f"  {row.question}: {row.views:.3f} s, by hand {row.by_hand:.3f} s "
            f"({row.views / row.by_hand:.1f} times); peak so far {row.views_mb} and {row.by_hand_mb} MB"
        )


def _page(stores: Mapping[str, list[_Row]], *, beside_mlflow: str) -> str:
    """The results as Markdown, without the machine."""
    tables = (
        line for store, rows in stores.items() for line in (f"{store}:", "", *_table(rows), "")
    )
    return "\n".join(
        [
            "# The results database, measured",
            "",
            "Written by `python -m benchmarks results_database`. "
            + ABOUT[0].upper()
            + ABOUT[1:]
            + ".",
            "",
            *tables,
            f"{beside_mlflow}.",
            "",
        ]
    )


def _table(rows: list[_Row]) -> Iterator[str]:
    yield "| question | seconds | by hand | times | peak so far, MB | by hand |"
    yield "| :-- | --: | --: | --: | --: | --: |"
    for row in rows:
        yield (
            f"| {row.question} | {row.views:.3f} | {row.by_hand:.3f} | {row.views / row.by_hand:.1f} | "
            f"{row.views_mb} | {row.by_hand_mb} |"
        )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
