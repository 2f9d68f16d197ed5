"""Images above the pixel limit, and images that are links out of their folder, in a whole extraction."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clip_adapter.datasets import DatasetError
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.extract import extract
from feature_cache import FeatureStore

PutPhotos = Callable[..., Path]


@pytest.fixture(name="extracted")
def _extracted(photos: Path, root: Path, tiny_model: str) -> Callable[..., EncodedDataset]:
    def run(folder: Path = photos, **options: Any) -> EncodedDataset:
        return extract(f"imagefolder:{folder}", tiny_model, root=str(root), **options)

    return run


def claim(path: Path, *, width: int, height: int) -> None:
    """Let a JPEG claim another size; what its data lacks becomes grey."""
    data = path.read_bytes()
    place = data.index(b"\xff\xc0") + 5
    path.write_bytes(data[:place] + struct.pack(">HH", height, width) + data[place + 4 :])


def size_of(encoded: EncodedDataset, path: str) -> tuple[int, int]:
    index = encoded.dataset.index
    row = index.paths.index(path)
    return int(index.widths[row]), int(index.heights[row])


def test_a_jpeg_of_100_megapixels_is_used_and_recorded_with_its_true_size(
    photos: Path, root: Path, extracted: Callable[..., EncodedDataset]
) -> None:
    claim(photos / "red" / "003.jpg", width=11_000, height=9_100)

    encoded = extracted()

    assert (encoded.dataset.n_images, encoded.dataset.n_quarantined) == (90, 0)
    assert size_of(encoded, "red/003.jpg") == (11_000, 9_100)
    digest = encoded.dataset.index.image_sha256[encoded.dataset.index.paths.index("red/003.jpg")]
    assert np.isfinite(FeatureStore(root, encoded.encoder).read_images([digest])).all()


def test_another_large_image_is_used_when_it_is_allowed(
    photos: Path, extracted: Callable[..., EncodedDataset]
) -> None:
    Image.new("1", (8_001, 8_000)).save(photos / "red" / "scan.png")

    refused = extracted()
    allowed = extracted(max_pixels=65_000_000)
    again = extracted()

    assert [each.dataset.n_quarantined for each in (refused, allowed, again)] == [1, 0, 1]
    assert size_of(allowed, "red/scan.png") == (8_001, 8_000)
    assert allowed.n_encoded == 1


def test_a_snapshot_of_the_hugging_face_hub_is_encoded_when_its_blobs_are_named(
    tmp_path: Path, photos: Path, extracted: Callable[..., EncodedDataset]
) -> None:
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "rev"
    blobs.mkdir(parents=True)
    for number, path in enumerate(photos.glob("*/*.jpg")):
        path.rename(blobs / f"{number:040x}")
        (snapshot / path.parent.name).mkdir(parents=True, exist_ok=True)
        (snapshot / path.parent.name / path.name).symlink_to(f"../../../blobs/{number:040x}")

    with pytest.raises(DatasetError, match=rf"--follow-links {blobs}"):
        extracted(snapshot)

    assert extracted(snapshot, follow_links=str(blobs)).n_encoded == 90
