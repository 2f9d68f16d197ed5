"""The memory that this process can still use."""

import os
from contextlib import suppress
from pathlib import Path

UNKNOWN_BYTES = 8 * 2**30
"""What is assumed where the system does not say, as on macOS and Windows."""

_GROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Number of bytes that this process can still allocate.

    The smallest of what Linux calls available, what the limits of its control groups leave (a
    container, a Slurm or Kubernetes job) and what its own limit (`ulimit -v`) leaves.
    """
    found = [_of_machine(), *_of_control_groups(), _of_process()]
    return max(0, min((each for each in found if each is not None), default=UNKNOWN_BYTES))


def _of_machine() -> int | None:
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return None


def _of_control_groups() -> list[int]:
    """What each control group of the process leaves, up to the root of its hierarchy."""
    found: list[int] = []
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top = _GROUPS / "memory" if controllers else _GROUPS
            own = top / name.lstrip("/")
            folders = [own, *own.parents] if ".." not in own.parts else [top]
            found += [
                left
                for folder in folders
                if folder.is_relative_to(top) and (left := _of_control_group(folder)) is not None
            ]
    return found


def _of_control_group(folder: Path) -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
            return left + _reclaimable(folder)
    return None


def _reclaimable(folder: Path) -> int:
    """Bytes of files that the group has read, which the system drops when memory is needed."""
    with suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name in {"inactive_file", "total_inactive_file"}:
                return int(value)
    return 0


def _of_process() -> int | None:
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415  # not on Windows

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return None
