"""Functions called in a process of their own, so that their peak of memory is theirs alone."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Measured(Generic[_Answer]):
    """The result of a function, and the memory of its process.

    Attributes:
        answer: what the function returned.
        peak_bytes: peak of the resident memory, imports included.
    """

    answer: _Answer
    peak_bytes: int


def call_alone(function: Callable[..., _Answer], **arguments: object) -> Measured[_Answer]:
    """Call a module's function in a new process that does nothing else.

    Args:
        function: Importable by its name.
        arguments: Small values; they travel to the process.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_call, function, arguments).result()


def _call(function: Callable[..., _Answer], arguments: dict[str, object]) -> Measured[_Answer]:
    answer = function(**arguments)
    return Measured(answer, peak_bytes())


def peak_bytes() -> int:
    """Peak resident memory of this program; `ru_maxrss` alone begins with the peak of the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        peaks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(peaks[0].split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
