import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_adapter.datasets import DatasetError, DatasetIndex, ImageSource, LabelledFile, build_index
from clip_adapter.datasets import index as index_module
from clip_adapter.images import ContainerReader, ReadOptions, decoding

Put = Callable[[Path, int], Path]
N_IMAGES = 200  # some chunks


@pytest.fixture(name="pets")
def _pets(tmp_path: Path, put: Put) -> ImageSource:
    paths = [put(tmp_path / f"{row % 3}" / f"{row:03d}.png", row).name for row in range(N_IMAGES)]
    files = [LabelledFile(f"{row % 3}/{name}", row % 3, None) for row, name in enumerate(paths)]
    (tmp_path / files[7].path).write_bytes(b"<html>")
    (tmp_path / files[150].path).unlink()
    return ImageSource(
        "pets", tmp_path, class_names=("a", "b", "c"), templates=("{}",), files=tuple(files)
    )


@pytest.fixture(name="decoded")
def _decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of everything that is decoded."""
    digests = []

    def decode(data: bytes, **limits: int) -> tuple[int, int]:
        digests.append(hashlib.sha256(data).hexdigest())
        return image_size(data, **limits)

    image_size = index_module.image_size
    monkeypatch.setattr(index_module, "image_size", decode)
    return digests


def sizes(index: DatasetIndex) -> dict[bytes, tuple[int, int]]:
    pairs = zip(index.widths.tolist(), index.heights.tolist(), strict=True)
    return dict(zip(index.image_sha256, pairs, strict=True))


def assert_equal(ours: DatasetIndex, theirs: DatasetIndex) -> None:
    for name in ("paths", "image_sha256", "splits", "groups", "quarantined", "fingerprint"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("labels", "widths", "heights", "n_bytes"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


def test_the_index_does_not_depend_on_the_number_of_threads(pets: ImageSource) -> None:
    alone = build_index(pets, workers=1)

    assert len(alone) == N_IMAGES - 2
    for workers in (2, 7):
        assert_equal(build_index(pets, workers=workers), alone)


def test_known_bytes_are_not_decoded_again(pets: ImageSource, decoded: list[str]) -> None:
    first = build_index(pets)
    decoded.clear()

    again = build_index(pets, known=sizes(first))

    assert_equal(again, first)
    assert decoded == [hashlib.sha256(b"<html>").hexdigest()]


def test_a_file_that_changed_under_its_name_and_time_is_noticed(
    pets: ImageSource, decoded: list[str]
) -> None:
    known = sizes(build_index(pets))
    path = pets.folder / pets.files[0].path
    times = path.stat()
    Image.new("RGB", (3, 9)).save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    decoded.clear()

    index = build_index(pets, known=known)

    row = index.paths.index(pets.files[0].path)
    assert index.image_sha256[row] == hashlib.sha256(path.read_bytes()).digest()
    assert (index.widths[row], index.heights[row]) == (3, 9)
    assert index.image_sha256[row].hex() in decoded


def test_the_bytes_digested_are_the_bytes_decoded(
    pets: ImageSource, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    class ReadOnce(ContainerReader):
        """Whose files hold something else as soon as they have been read."""

        def read(self, path: str) -> bytes:
            data = super().read(path)
            reads.append(path)
            (pets.folder / path).write_bytes(b"changed")
            return data

    monkeypatch.setattr(index_module, "open_images", ReadOnce)
    index = build_index(pets)

    assert len(reads) == len(set(reads)) == N_IMAGES - 1
    assert {digest.hex() for digest in index.image_sha256} <= set(decoded)


def test_a_known_image_that_is_larger_than_is_allowed_now_is_quarantined_again(
    pets: ImageSource,
) -> None:
    known = sizes(build_index(pets))
    n_pixels = max(width * height for width, height in known.values())
    stricter = replace(pets, read=ReadOptions(max_pixels=n_pixels - 1))

    with pytest.raises(DatasetError, match="are more than the limit of"):
        build_index(stricter, known=known)


def test_a_known_jpeg_is_quarantined_where_its_decoder_may_not_hold_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MAX_HELD_PIXELS", 100)
    for label in (0, 1):
        Image.new("RGB", (9, 9), (100 * label, 0, 0)).save(tmp_path / f"{label}.jpg")
    Image.new("RGB", (20, 10)).save(tmp_path / "large.jpg", progressive=True)
    names = ("0.jpg", "1.jpg", "large.jpg")
    files = tuple(LabelledFile(name, int(name == "1.jpg"), None) for name in names)
    source = ImageSource("pets", tmp_path, class_names=("a", "b"), templates=("{}",), files=files)
    generous = replace(source, read=ReadOptions(max_pixels=200))
    known = sizes(build_index(generous))

    stricter = replace(source, read=ReadOptions(max_pixels=199))
    index = build_index(stricter, known=known, max_bad_fraction=0.5)

    assert len(known) == 3
    assert [file.path for file in index.quarantined] == ["large.jpg"]
    assert "20 x 10 pixels are more than the limit of 199" in index.quarantined[0].reason


def test_a_known_jpeg_is_not_decoded_again_whatever_is_allowed(
    tmp_path: Path, decoded: list[str]
) -> None:
    for label in (0, 1):
        Image.new("RGB", (20, 10), (100 * label, 0, 0)).save(tmp_path / f"{label}.jpg")
    files = tuple(LabelledFile(f"{label}.jpg", label, None) for label in (0, 1))
    source = ImageSource("pets", tmp_path, class_names=("a", "b"), templates=("{}",), files=files)
    known = sizes(build_index(source))
    decoded.clear()

    build_index(replace(source, read=ReadOptions(max_pixels=1)), known=known)

    assert decoded == []
