"""Whoever asks an extraction to stop keeps what is encoded, and waits for seconds at most."""

import os
import signal
import time
from pathlib import Path

import pytest
from extractions import ForkServer, Undisturbed
from states import features_in, refuse_unsound, rows_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SOON_SECONDS = 10.0
"""A batch takes a tenth of one here; the rest is for a busy machine."""


@pytest.mark.parametrize("processes", [0, 2])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_was_encoded_before_it_was_stopped_is_stored(
    tmp_path: Path,
    fork_server: ForkServer,
    undisturbed: Undisturbed,
    *,
    number: signal.Signals,
    code: int,
    processes: int,
) -> None:
    """Ctrl-C reaches every process of the terminal, so here the signal does, too."""
    root = tmp_path / "store"
    extraction = fork_server.start(root, processes=processes, pause=0.1, write_every_seconds=1000.0)
    assert extraction.wait_for("encoded", times=3)
    stopped = time.monotonic()
    extraction.send(number, to_group=True)
    assert extraction.wait() == code, extraction.errors
    assert time.monotonic() - stopped < SOON_SECONDS
    n_stored = len(features_in(refuse_unsound(root, undisturbed.rows)))
    # The signal may come before or after the last encoded batch is handed to the writer.
    *earlier, last = extraction.encoded_batches()
    assert earlier
    assert n_stored in {sum(earlier), sum(earlier) + last}
    assert n_stored < undisturbed.n_features
    fork_server.start(root).finish()
    assert rows_in(root) == undisturbed.rows


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_loading_process_outlives_the_extraction(
    tmp_path: Path, fork_server: ForkServer, number: signal.Signals
) -> None:
    extraction = fork_server.start(tmp_path / "store", processes=2, pause=0.2)
    assert extraction.wait_for("encoded")
    assert len(extraction.processes()) >= 3  # itself and two that load
    extraction.send(number)
    extraction.wait()
    deadline = time.monotonic() + SOON_SECONDS
    while extraction.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert extraction.processes() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_loading_processes_stopped_while_they_start_do_not_outlive_it(
    tmp_path: Path, fork_server: ForkServer, number: signal.Signals
) -> None:
    for delay in (0.0, 0.05, 0.2, 0.5):
        extraction = fork_server.start(tmp_path / f"{delay}", processes=2, pause=0.2)
        while len(extraction.processes()) < 2:
            time.sleep(0.001)
        time.sleep(delay)
        extraction.send(number)
        extraction.wait()
        deadline = time.monotonic() + SOON_SECONDS
        while extraction.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert extraction.processes() == []


def test_a_loading_process_that_is_killed_ends_the_extraction_with_an_error(
    tmp_path: Path, fork_server: ForkServer, undisturbed: Undisturbed
) -> None:
    """The system kills the largest process when memory runs out: that must not hang."""
    root = tmp_path / "store"
    extraction = fork_server.start(root, processes=2, pause=0.2, write_every_seconds=1000.0)
    # Itself, the tracker of multiprocessing, and two that load: these still import what they need.
    while len(extraction.processes()) < 4:
        time.sleep(0.001)
    os.kill(extraction.processes()[-1], signal.SIGKILL)
    assert extraction.wait() == 1
    assert len(features_in(refuse_unsound(root, undisturbed.rows))) == extraction.n_encoded()
