from pathlib import Path

import pytest

from benchmarks.memory import DECODED_BYTES, peak_bytes

FEW, MANY = 500, 4_500
BYTES_A_ROW = 4_000
"""An image's path, digest, label, split and sizes in the index and in the list of what is wanted:
1.4 and 2.9 kB an image were measured between 2,000 and 20,000 images."""
NOISE_BYTES = 40 * 10**6
"""Room for what allocators happen to keep, which is no matter of the number of images."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_grows_by_the_index_and_not_by_the_pictures(tmp_path: Path) -> None:
    growth = peak_bytes(tmp_path, MANY) - peak_bytes(tmp_path, FEW)
    bound = (MANY - FEW) * BYTES_A_ROW + NOISE_BYTES
    assert bound < (MANY - FEW) * DECODED_BYTES / 10  # else pictures could hide below it
    assert growth < bound
