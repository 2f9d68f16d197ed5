"""What the processes of a service leave behind when they end.

A flow run leads a session of its own; a server may just have asked `file` or `git` something.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["MARK", "end_strays"]

MARK = "CLIP_ADAPTER_SERVED_BY"
"""In the environment of all that a supervisor starts, and of what they start, and of nothing else."""
PROCESSES = Path("/proc")
"""Linux shows the environments of processes there; elsewhere none are found."""


def end_strays(mark: str, *, spared: Collection[int], patience_seconds: float) -> int:
    """Ask the processes that bear a mark to end, and make them if they do not; how many there were.

    Args:
        mark: The value of `MARK`.
        spared: Process ids that bear it and are left alone.
        patience_seconds: Between asking and making.
    """
    n_found = len(list(_strays(mark, spared)))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in _strays(mark, spared):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience_seconds
        while any(_strays(mark, spared)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return n_found


def _strays(mark: str, spared: Collection[int]) -> Iterator[int]:
    wanted = f"{MARK}={mark}".encode()
    for path in PROCESSES.glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        # Somebody else's cannot be read, and one that has just ended is gone.
        with suppress(OSError):
            if pid not in spared and wanted in path.read_bytes().split(b"\0"):
                yield pid
