"""Killing an extraction loses the batch in hand, and nothing else."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from feature_cache import stores
from tasks.stored_indexes import read_index

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 8
EXTRACT = """
import sys
from pathlib import Path
import tasks.encode_dataset as encoding
from tasks.index_dataset import index_dataset

encoding.IMAGES_A_FILE = 4
root, photos, model = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
dataset = index_dataset.fn(f"imagefolder:{photos}", root=root, data=root)
print(encoding.encode_dataset.fn(dataset, model=model).n_encoded)
"""


def extraction(root: Path, photos: Path, model: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", EXTRACT, str(root), str(photos), model]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ
    )


def finish(process: "subprocess.Popen[str]") -> int:
    """The number of images it encoded."""
    answer, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return int(answer.split()[-1])


def kill_once_it_has_stored_more(
    process: "subprocess.Popen[str]", root: Path, *, delay_seconds: float
) -> None:
    """Let at least one more file appear, then a little of whatever comes next."""
    before = len(feature_files(root))
    while len(feature_files(root)) == before and process.poll() is None:
        time.sleep(0.001)
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def feature_files(root: Path) -> list[Path]:
    return list(root.glob("features/*/image/*.parquet"))


def test_an_extraction_killed_again_and_again_ends_like_an_undisturbed_one(
    tmp_path: Path, photos: Path, tiny_model: str
) -> None:
    from tasks.index_dataset import index_dataset  # noqa: PLC0415  # Prefect takes seconds

    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    assert finish(extraction(undisturbed, photos, tiny_model)) == 90
    moments = random.Random(0)  # noqa: S311  # no secret
    for _ in range(KILLS):
        kill_once_it_has_stored_more(
            extraction(disturbed, photos, tiny_model),
            disturbed,
            delay_seconds=moments.uniform(0, 0.01),
        )
    held = sum(store.statistics().n_images for store in stores(disturbed))
    assert 4 * KILLS <= held < 90
    assert finish(extraction(disturbed, photos, tiny_model)) == 90 - held

    dataset = index_dataset.fn(f"imagefolder:{photos}", root=undisturbed, data=undisturbed)
    digests = list(read_index(dataset).image_sha256)
    (whole,), (resumed,) = stores(undisturbed), stores(disturbed)
    assert whole.encoder == resumed.encoder
    np.testing.assert_array_equal(whole.read_images(digests), resumed.read_images(digests))
