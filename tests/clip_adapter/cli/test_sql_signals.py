"""Ctrl-C and SIGTERM end a statement, whatever it is doing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.runs import (
    ImagePredictions,
    RunRecord,
    RunResult,
    RunSettings,
    RunStore,
    Versions,
    connect,
)

SOON_SECONDS = 5.0
"""It takes a tenth of one here; the rest is for a busy machine. None of the statements would end so soon."""
WHILE_IT_WORKS = 0.7
SIGNALS = [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")]
WORK = {
    "scan": "select count(distinct a.image_sha256 || b.range) from predictions a, range(1000000) b",
    "join": "select max(a.confidence * b.confidence * c.confidence * d.confidence)"
    " from predictions a, predictions b, predictions c, predictions d",
    "sort": "select range from range(30000000) order by md5(range::varchar) desc limit 10000000",
    "aggregate": "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
}
Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("signals") / "store"
    RunStore(root).record(
        [RunResult(run=a_run(), metrics={("test", "accuracy"): 0.5}, predictions=some())]
    )
    return root


def some() -> ImagePredictions:
    count = 3_000
    return ImagePredictions(
        image_sha256=[number.to_bytes(32, "big") for number in range(count)],
        label=np.zeros(count, np.int64),
        predicted=np.zeros(count, np.int64),
        confidence=np.full(count, 0.5),
        margin=np.full(count, 0.25),
    )


@pytest.fixture(name="start")
def _start(store: Path) -> Iterator[Start]:
    """Start `clip-adapter sql` as a process; what is still there at the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, program: str = "") -> subprocess.Popen[bytes]:
        command = [Path(sys.executable).parent / "clip-adapter", "sql", "--root", store]
        if program:
            command = [Path(sys.executable), "-c", program]
        process = subprocess.Popen(
            [*map(str, command), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code", "message"), SIGNALS)
@pytest.mark.parametrize("phase", WORK)
def test_a_signal_ends_a_statement(
    start: Start, tmp_path: Path, *, phase: str, number: signal.Signals, code: int, message: str
) -> None:
    """The first statement of the file tells that the second one begins."""
    file = tmp_path / "work.sql"
    file.write_text(f"select 'begun' as begun; {WORK[phase]};")
    process = start("--file", file, "--format", "csv")
    assert process.stdout is not None
    assert process.stdout.read(12) == b"begun\nbegun\n"
    time.sleep(WHILE_IT_WORKS)
    assert process.poll() is None, process.communicate()
    assert ended(process, number) == (code, message)


@pytest.mark.parametrize(("number", "code", "message"), SIGNALS)
@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "markdown", "table"])
def test_a_signal_ends_the_output_although_nobody_reads_it(
    start: Start, *, form: str, number: signal.Signals, code: int, message: str
) -> None:
    process = start("select * from range(1000000) a, range(1000000) b", "--format", form)
    assert process.stdout is not None
    assert process.stdout.read(10)
    time.sleep(WHILE_IT_WORKS)  # the pipe is full
    assert ended(process, number) == (code, message)


@pytest.mark.parametrize(("number", "code", "message"), SIGNALS)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_signal_leaves_no_half_written_file(
    start: Start, tmp_path: Path, *, form: str, number: signal.Signals, code: int, message: str
) -> None:
    output = tmp_path / "out" / f"rows.{form}"
    process = start("select * from range(1000000) a, range(1000000) b", "--output", output)
    wait_for(lambda: sum(path.stat().st_size for path in output.parent.glob(".*.tmp")) > 100_000)
    assert ended(process, number) == (code, message)
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(("number", "code", "message"), SIGNALS)
def test_a_signal_ends_a_python_program_that_queries(
    start: Start, store: Path, *, number: signal.Signals, code: int, message: str
) -> None:
    del message
    program = (
        "import signal, sys; from clip_adapter import connect\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"with connect({str(store)!r}) as database:\n"
        "    print('begun', flush=True)\n"
        f"    database.sql({WORK['join']!r})\n"
    )
    process = start(program=program)
    assert process.stdout is not None
    assert process.stdout.read(6) == b"begun\n"
    time.sleep(WHILE_IT_WORKS)
    found, errors = ended(process, number)
    # Python ends by the signal itself where KeyboardInterrupt is not caught.
    assert found in {code, -number}
    assert "KeyboardInterrupt" in errors or number is signal.SIGTERM


def test_an_interrupted_database_answers_the_next_statement(store: Path) -> None:
    def interrupt(*_: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        with connect(store) as database:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(TimeoutError):
                database.sql(WORK["join"])
            assert database.sql("select 1").fetchall() == [(1,)]
    finally:
        signal.signal(signal.SIGALRM, former)


def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> tuple[int, str]:
    """Exit code and standard error of a process that gets a signal while its output is not read."""
    process.send_signal(number)
    code = process.wait(timeout=SOON_SECONDS)
    assert process.stderr is not None
    return code, os.read(process.stderr.fileno(), 10_000).decode()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def a_run() -> RunRecord:
    versions = Versions(clip_adapter="0", python="3", torch="2", open_clip="3", numpy="2")
    return RunRecord(
        run_id="0" * 32,
        fingerprint="f",
        sweep_id="s",
        started_at=datetime(2026, 11, 23, tzinfo=UTC),
        dataset="digits",
        index_fingerprint="i",
        split_fingerprint="s",
        class_names=("zero", "one"),
        templates=("a {}.",),
        model="glyphs",
        encoder="e",
        logit_scale=100.0,
        method="gda",
        shots=4,
        seed=1,
        settings=RunSettings(),
        settings_fingerprint="s",
        selected_on="validation",
        seconds_encode=1.0,
        seconds_train=1.0,
        peak_memory_bytes=1,
        n_train=1,
        n_validation=1,
        n_test=1,
        n_leaked=0,
        device="cpu",
        precision="fp32",
        versions=versions,
    )
