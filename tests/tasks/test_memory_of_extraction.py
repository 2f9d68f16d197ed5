from pathlib import Path

import pytest

from benchmarks.memory import DECODED_BYTES, peak_bytes

FEW, MANY = 1_000, 6_000
BYTES_A_ROW = 6_000
"""An image's path, digest, label, split and sizes as Python objects, in the source, the index and
the list of what is wanted, with Arrow's copies while they are written and read: some 3 kB."""
NOISE_BYTES = 40 * 10**6
"""Allocators keep what they were given; two runs of one size differ by up to this."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_grows_by_the_index_and_not_by_the_pictures(tmp_path: Path) -> None:
    growth = peak_bytes(tmp_path, MANY) - peak_bytes(tmp_path, FEW)
    bound = (MANY - FEW) * BYTES_A_ROW + NOISE_BYTES
    assert bound < (MANY - FEW) * DECODED_BYTES / 10  # else pictures could hide below it
    assert growth < bound
