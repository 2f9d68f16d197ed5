"""Processes that outlive the parent which a supervisor started.

A flow run leads a session of its own; a server may just have started `file` or `git`.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

MARK = "CLIP_ADAPTER_SERVED_BY"
"""Environment variable of every process below a supervisor, and of no other."""
PROCESSES = Path("/proc")
"""Linux lists the environments of processes here; on other systems no orphan is found."""


def kill_orphans(mark: str, *, spared: Collection[int], patience_seconds: float) -> int:
    """Send SIGTERM, then SIGKILL, to the marked processes; returns how many there were.

    Args:
        mark: Value of `MARK` in their environment.
        spared: Ids of marked processes to leave alone.
        patience_seconds: Seconds to wait after each signal.
    """
    n_found = len(list(_orphans(mark, spared)))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _orphans(mark, spared):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while any(_orphans(mark, spared)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return n_found


def _orphans(mark: str, spared: Collection[int]) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for path in PROCESSES.glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        # Other users' processes cannot be read, and one that has just ended is gone.
        with suppress(OSError):
            if pid not in spared and wanted in path.read_bytes().split(b"\0"):
                yield pid
