"""Many processes record into one store while others query and one compacts: no row is lost, no query fails."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from clip_adapter.runs import query

CHECKOUT = Path(__file__).parents[3]
WRITERS, READERS, BATCHES, RUNS = 20, 3, 10, 5
IMAGES = 20

# Every run has an accuracy of its own, so that one that is counted twice or lost is seen in the sum.
WRITER = f"""
import sys, uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from clip_adapter.runs import ImagePredictions, RequestRecord, RequestStore, RunResult, RunStore
from tests.clip_adapter.runs.conftest import digest, plain_run
root, writer = Path(sys.argv[1]), int(sys.argv[2])
predictions = ImagePredictions(
    image_sha256=[digest(number) for number in range({IMAGES})],
    label=np.zeros({IMAGES}, np.int64),
    predicted=np.zeros({IMAGES}, np.int64),
    confidence=np.ones({IMAGES}, np.float32),
    margin=np.ones({IMAGES}, np.float32),
)
print("ready", flush=True)
sys.stdin.readline()
for batch in range({BATCHES}):
    first = (writer * {BATCHES} + batch) * {RUNS} + 1
    results = [
        RunResult(
            run=replace(plain_run(number), dataset=f"dataset-{{writer}}"),
            metrics={{("test", "accuracy"): number / 1000}},
            predictions=predictions,
        )
        for number in range(first, first + {RUNS})
    ]
    RunStore(root).record(results)
    RequestStore(root).append(
        RequestRecord(
            request_id=uuid.uuid4().hex,
            sequence=batch + 1,
            asked_at=datetime.now(UTC),
            command="train",
            dataset=f"dataset-{{writer}}",
            index_fingerprint="index",
            encoder="encoder",
            run_ids=tuple(result.run.run_id for result in results),
        )
    )
"""
# A reader sees whole runs alone, and never fewer than before.
READER = f"""
import sys, threading
from clip_adapter.runs import query
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), sys.stdin.readline(), stop.set()), daemon=True).start()
print("ready", flush=True)
asked = seen = 0
while not stop.is_set():
    rows = query(sys.argv[1], '''
        SELECT run_id, count(*) AS n FROM runs JOIN predictions USING (run_id) GROUP BY run_id
    ''').to_pylist()
    assert {{row["n"] for row in rows}} <= {{{IMAGES}}}, rows
    assert len(rows) >= seen, (len(rows), seen)
    seen, asked = len(rows), asked + 1
    board = query(sys.argv[1], "SELECT sum(seeds) AS n FROM leaderboard").to_pylist()[0]["n"] or 0
    assert board >= seen, (board, seen)
print(f"asked {{asked}}", flush=True)
"""
COMPACTOR = """
import sys, threading
from pathlib import Path
from feature_cache import compact_folder, stored_folders
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), sys.stdin.readline(), stop.set()), daemon=True).start()
print("ready", flush=True)
merged = 0
while not stop.is_set():
    for folder in stored_folders(Path(sys.argv[1])):
        done = compact_folder(folder)
        merged += done.n_files_before if done else 0
print(f"merged {merged}", flush=True)
"""
Process = "subprocess.Popen[str]"
Start = Callable[..., Process]


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in a process of its own, which waits for a line once it has imported everything."""
    started = []

    def start(program: str, *arguments: object) -> Process:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(OSError):
            process.kill()
        process.communicate()


def ready(process: Process) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]


def go(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def ended(process: Process, words: str = "") -> str:
    """What a process that ended well has printed."""
    out, errors = process.communicate(words, timeout=300)
    assert (process.returncode, errors) == (0, ""), errors
    return out


@pytest.mark.slow
def test_twenty_processes_record_while_others_ask_and_one_compacts(
    tmp_path: Path, start: Start
) -> None:
    (tmp_path / "runs").mkdir()
    writers = [start(WRITER, number) for number in range(WRITERS)]
    readers = [start(READER) for _ in range(READERS)]
    compactor = start(COMPACTOR)
    everyone = [*writers, *readers, compactor]
    for process in everyone:
        ready(process)
    for process in everyone:
        go(process)
    for process in writers:
        ended(process)
    asked = [int(ended(process, "stop\n").removeprefix("asked ")) for process in readers]
    merged = int(ended(compactor, "stop\n").removeprefix("merged "))
    # Everyone began at once, so that the first question was asked while others recorded.
    assert min(asked) > 0
    assert merged > 1

    count = WRITERS * BATCHES * RUNS
    (found,) = query(
        tmp_path,
        """
        SELECT (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM metrics) AS metrics,
            (SELECT count(*) FROM predictions) AS predictions,
            (SELECT count(*) FROM requests) AS requests,
            (SELECT round(1000 * sum(value))::INTEGER FROM metrics) AS sum,
            (SELECT sum(seeds) FROM leaderboard)::INTEGER AS on_board
        """,
    ).to_pylist()
    assert found == {
        "runs": count,
        "metrics": count,
        "predictions": count * IMAGES,
        "requests": WRITERS * BATCHES,
        "sum": count * (count + 1) // 2,
        "on_board": count,
    }
