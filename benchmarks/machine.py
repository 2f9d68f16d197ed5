"""The machine that figures were taken on; without it they say nothing."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("torch", "open_clip_torch", "pyarrow", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a reader needs to know before believing a figure.

    Attributes:
        cpu: name of the processor.
        vectors: flags of Linux for the widest vector instructions and those for bfloat16.
        cores: number of cores that this process may use.
        memory_gib: installed memory.
        load_average: load average of the last minute before the benchmark; above 0 other processes
            were running.
        system: operating system.
        versions: versions of Python and of the packages that compute.
        date: date in UTC.
        git_commit: commit of the checkout; with `+` if files were changed since.
    """

    cpu: str
    vectors: list[str]
    cores: int
    memory_gib: float
    load_average: float
    system: str
    versions: dict[str, str]
    date: str
    git_commit: str

    def lines(self) -> Iterator[str]:
        """For a person."""
        vectors = ", ".join(self.vectors) or "no vector instructions known"
        yield f"{self.cpu} ({vectors}), {self.cores} cores, {self.memory_gib:.0f} GiB"
        yield f"{self.system}, load average {self.load_average:.1f} before"
        yield ", ".join(f"{name} {number}" for name, number in self.versions.items())
        yield f"{self.date}, commit {self.git_commit}"


def describe_machine() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_cpu_fact("model name") or platform.processor() or platform.machine(),
        vectors=_vectors(_cpu_fact("flags").split()),
        cores=_n_cores(),
        memory_gib=round(_total_memory_bytes() / 2**30, 1),
        load_average=round(os.getloadavg()[0], 2),
        system=platform.platform(terse=True),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=_git_commit(),
    )


def free_memory_bytes() -> int:
    """Memory that is available without swapping; the installed memory where that is unknown."""
    available = _first_line("/proc/meminfo", "MemAvailable")
    return int(available.split()[0]) * 1024 if available else _total_memory_bytes()


def free_disk_bytes(folder: Path) -> int:
    """Room on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _total_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _n_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_fact(name: str) -> str:
    return _first_line("/proc/cpuinfo", name)


def _first_line(path: str, name: str) -> str:
    """The value of the first `name: value` in a file of the kernel; empty where there is none."""
    if not Path(path).exists():
        return ""
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _vectors(flags: list[str]) -> list[str]:
    widest = next((name for name in ("avx512f", "avx2", "avx") if name in flags), None)
    return [*filter(None, [widest]), *(name for name in flags if name.endswith("_bf16"))]


def _git_commit() -> str:
    def ask(*words: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return ask("rev-parse", "--short=12", "HEAD") + (
            "+" if ask("status", "--porcelain") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
