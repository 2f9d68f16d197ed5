"""Reading the features of a dataset for training, verified, beside `np.load` of the same matrix."""

import hashlib
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.machine import free_disk_bytes, free_memory_bytes
from benchmarks.processes import Measured, call_alone
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread, ratio_of, take_turns
from feature_cache import FeatureStore
from feature_cache.compaction import FULL_SIZE_BYTES

ENCODER = "0123456789abcdef" * 4
ABOUT = (
    "seconds of FeatureStore.read_images to a torch tensor, every byte verified against its "
    "SHA-256 digest and every row found by its key, over seconds of np.load of the same float32 "
    "matrix, which verifies nothing; both from the page cache, each in a process of its own, "
    "taking turns; below 1 is faster than np.load"
)
SIZES = ((27_000, 1024), (1_000_000, 512))
LARGE_BYTES = 10**9
MEMORY_FOR_LARGE = 12 * 10**9
DISK_FOR_LARGE = 6 * 10**9


def measure_load(place: Path, *, quick: bool) -> Figures:
    """Compare the two at each size that this machine has room for."""
    headlines: dict[str, float] = {}
    details: dict[str, Value] = {}
    lines: list[str] = []
    for rows, width in SIZES[:1] if quick else SIZES:
        lack = lack_of_room(place, rows * width * 4)
        if lack:
            lines.append(f"{rows:,} x {width} skipped: {lack}")
            continue
        ratio, figures = _compare(place, (rows, width), rounds=3)
        headlines = {"load_over_npload": ratio.median}
        details |= {f"{name}_{rows}x{width}": value for name, value in figures.items()}
        lines += _lines(f"{rows:,} x {width}", ratio, figures)
    return Figures(
        name="load", about=ABOUT, headlines=headlines, details=details, lines=tuple(lines)
    )


def read_cached(root: Path, rows: int) -> float:
    """Seconds to a tensor of all rows; for a process of its own."""
    import torch  # noqa: PLC0415  # as late as its process needs it

    digests = digests_of(rows)
    start = time.perf_counter()
    features = torch.from_numpy(FeatureStore(root, ENCODER).read_images(digests))
    seconds = time.perf_counter() - start
    _check(features[-1].tolist(), rows)
    return seconds


def read_numpy(path: Path, rows: int) -> float:
    """Seconds to the same tensor from a plain file; for a process of its own."""
    import torch  # noqa: PLC0415  # as late as its process needs it

    digests_of(rows)  # the other side holds them, too
    start = time.perf_counter()
    features = torch.from_numpy(np.load(path))
    seconds = time.perf_counter() - start
    _check(features[-1].tolist(), rows)
    return seconds


def _compare(
    place: Path, shape: tuple[int, int], *, rounds: int
) -> tuple[Spread, dict[str, Value]]:
    rows = shape[0]
    root, plain = _write_both(place, shape)
    peaks: dict[str, list[int]] = {"cache": [], "npload": []}

    def turn(side: str, read: partial[Measured[float]], _: int) -> float:
        measured = read()
        peaks[side].append(measured.peak_bytes)
        return measured.answer

    sides = {
        "cache": partial(call_alone, read_cached, root=root, rows=rows),
        "npload": partial(call_alone, read_numpy, path=plain, rows=rows),
    }
    seconds = take_turns(
        {side: partial(turn, side, read) for side, read in sides.items()}, rounds=rounds
    )
    plain.unlink()
    ratio = ratio_of(seconds["cache"], seconds["npload"])
    figures: dict[str, Value] = {"seconds_cache_over_npload": ratio.rounded()}
    for side, measured in seconds.items():
        figures[f"{side}_seconds"] = Spread.of(measured).rounded()
        figures[f"{side}_peak_megabytes"] = round(max(peaks[side]) / 1e6)
    return ratio, figures


def _lines(size: str, ratio: Spread, figures: dict[str, Value]) -> Iterator[str]:
    yield f"[bold]{size}[/]: {ratio} times as long as np.load"
    for side, name in (("cache", "verified read"), ("npload", "np.load")):
        seconds, peak = figures[f"{side}_seconds"], figures[f"{side}_peak_megabytes"]
        if isinstance(seconds, dict):
            yield f"  {name}: {seconds['median']:.2f} s, peak {peak:,} MB"


def _write_both(place: Path, shape: tuple[int, int]) -> tuple[Path, Path]:
    """A store whose files are as large as compaction makes them, and one .npy file."""
    rows, width = shape
    root, plain = place / f"store-{rows}", place / f"{rows}.npy"
    store, digests = FeatureStore(root, ENCODER), digests_of(rows)
    matrix = np.lib.format.open_memmap(plain, "w+", np.float32, shape)
    rows_a_file = FULL_SIZE_BYTES // (4 * width)
    for first in range(0, rows, rows_a_file):
        part = matrix[first : first + rows_a_file]
        part[:] = np.random.default_rng(first).random(part.shape, np.float32)
        part[:, 0] = np.arange(first, first + len(part))
        store.append_images(digests[first : first + len(part)], np.asarray(part))
    matrix.flush()
    return root, plain


def digests_of(rows: int) -> list[bytes]:
    """Digests of as many images as there are rows."""
    return [hashlib.sha256(row.to_bytes(4, "big")).digest() for row in range(rows)]


def _check(last: list[float], rows: int) -> None:
    """Both sides have read what they should: the first element of a row is its number."""
    if last[0] != rows - 1:
        raise RuntimeError(f"the last row begins with {last[0]}; expected {rows - 1}")


def lack_of_room(place: Path, size_bytes: int) -> str:
    """Why a matrix of this size cannot be measured here; empty if it can."""
    memory, disk = free_memory_bytes(), free_disk_bytes(place)
    if size_bytes < LARGE_BYTES:
        return ""
    if memory < MEMORY_FOR_LARGE:
        return f"{memory / 1e9:.0f} GB of memory are free; expected {MEMORY_FOR_LARGE / 1e9:.0f}"
    if disk < DISK_FOR_LARGE:
        return f"{disk / 1e9:.0f} GB of disk are free; expected {DISK_FOR_LARGE / 1e9:.0f}"
    return ""
