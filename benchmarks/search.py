"""Search over stored features, in a warm process and from disk, beside a plain matrix product."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.load import ENCODER, digests_of, lack_of_room
from benchmarks.processes import Measured, call_alone
from benchmarks.records import Figures, Value
from benchmarks.rounds import Spread, ratio_of, take_turns
from clip_adapter.pipeline.nearest import HELD_BLOCK_BYTES, find_nearest, unit_blocks
from feature_cache import FeatureStore
from feature_cache.compaction import FULL_SIZE_BYTES

ABOUT = (
    "seconds of the 20 nearest of random normal features to a query, over seconds of the plain product "
    "of one float32 matrix of the same features with it, taking turns in one process that holds both; "
    "and from disk, each in a process of its own and from the page cache: block by block, every byte "
    "verified, over reading all features into one matrix and then multiplying"
)
ROWS, QUICK_ROWS, WIDTH, TOP = 1_000_000, 50_000, 512, 20


def measure_search(place: Path, *, quick: bool) -> Figures:
    """Compare both ways with the plain product, if this machine has room."""
    rows = QUICK_ROWS if quick else ROWS
    if lack := lack_of_room(place, rows * WIDTH * 4):
        return Figures(name="search", about=ABOUT, lines=(f"skipped: {lack}",))
    _write(place, rows)
    warm = call_alone(search_warm, root=place, rows=rows, rounds=7).answer
    cold = {side: call_alone(side, root=place, rows=rows) for side in (search_disk, multiply_all)}
    ratio = ratio_of(warm["search"], warm["product"])
    blockwise, whole = cold.values()
    details: dict[str, Value] = {
        "rows": rows,
        "warm_seconds": Spread.of(warm["search"]).rounded(),
        "product_seconds": Spread.of(warm["product"]).rounded(),
        "warm_over_product": ratio.rounded(),
        "disk_seconds": round(blockwise.answer, 2),
        "disk_over_all_at_once": round(blockwise.answer / whole.answer, 3),
        "disk_peak_megabytes": round(blockwise.peak_bytes / 1e6),
        "all_at_once_peak_megabytes": round(whole.peak_bytes / 1e6),
    }
    seconds = Spread.of(warm["search"])
    lines = (
        f"[bold]{rows:,} x {WIDTH}[/] in memory: {seconds} s, {ratio} times the plain product",
        f"from disk, block by block: {_shown(blockwise)}; all at once: {_shown(whole)}",
    )
    headlines = {} if quick else {"search_over_product": ratio.median}
    return Figures(name="search", about=ABOUT, headlines=headlines, details=details, lines=lines)


def _shown(measured: Measured[float]) -> str:
    return f"{measured.answer:.2f} s, peak {measured.peak_bytes / 1e6:,.0f} MB"


def search_warm(root: Path, rows: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of the search and of the product, round by round; for a process of its own."""
    stored = _store(root).image_blocks(digests_of(rows))
    blocks = tuple(unit_blocks(stored, at_least=HELD_BLOCK_BYTES))
    matrix = np.empty((rows, WIDTH), np.float32)
    for block in blocks:
        matrix[block.places] = block.features
    queries = np.random.default_rng(1).standard_normal((rounds, WIDTH), np.float32)

    def search(number: int) -> float:
        start = time.perf_counter()
        find_nearest(queries[number], blocks, top=TOP)
        return time.perf_counter() - start

    def product(number: int) -> float:
        start = time.perf_counter()
        matrix @ queries[number]
        return time.perf_counter() - start

    return take_turns({"search": search, "product": product}, rounds=rounds)


def search_disk(root: Path, rows: int) -> float:
    """Seconds of a search that reads the features block by block; for a process of its own."""
    digests = digests_of(rows)
    start = time.perf_counter()
    find_nearest(_query(), unit_blocks(_store(root).image_blocks(digests)), top=TOP)
    return time.perf_counter() - start


def multiply_all(root: Path, rows: int) -> float:
    """Seconds of reading all features and multiplying them; for a process of its own."""
    digests = digests_of(rows)
    start = time.perf_counter()
    products = _store(root).read_images(digests) @ _query()
    np.argpartition(products, -TOP)
    return time.perf_counter() - start


def _query() -> Float[np.ndarray, " d"]:
    return np.random.default_rng(0).standard_normal(WIDTH, np.float32)


def _store(root: Path) -> FeatureStore:
    return FeatureStore(root, ENCODER)


def _write(root: Path, rows: int) -> None:
    """Random features in files as large as compaction makes them."""
    digests = digests_of(rows)
    for first, last in _parts(rows):
        features = np.random.default_rng(first).standard_normal((last - first, WIDTH), np.float32)
        _store(root).append_images(digests[first:last], features)


def _parts(rows: int) -> Iterator[tuple[int, int]]:
    rows_a_file = FULL_SIZE_BYTES // (4 * WIDTH)
    for first in range(0, rows, rows_a_file):
        yield first, min(first + rows_a_file, rows)
