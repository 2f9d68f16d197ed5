from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from steps import index_dataset

from clip_adapter.datasets import build_index, open_dataset
from clip_adapter.pipeline.index import known_sizes, read_index, write_index
from feature_cache import CorruptFileError, IndexStore


def test_an_index_comes_back_as_it_was_written(photos: Path, root: Path) -> None:
    written = build_index(open_dataset(f"imagefolder:{photos}", data=root))
    write_index(IndexStore(root, written.source.name), written)
    read = read_index(index_dataset(f"imagefolder:{photos}", root=root, data=root))
    for field in fields(written):
        if field.name != "source":
            np.testing.assert_array_equal(getattr(read, field.name), getattr(written, field.name))
    assert read.fingerprint == written.fingerprint


def test_a_damaged_index_is_not_trained_on(photos: Path, root: Path) -> None:
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    path = next((root / "datasets").rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptFileError):
        read_index(indexed)


def test_sizes_of_all_earlier_indexes_are_known(photos: Path, root: Path) -> None:
    first = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    digests = set(read_index(first).image_sha256)
    (photos / "red" / "000.jpg").unlink()
    index_dataset(f"imagefolder:{photos}", root=root, data=root)

    assert known_sizes(IndexStore(root, first.name)) == dict.fromkeys(digests, (16, 16))


def test_images_that_were_imported_without_pixels_are_not_known(photos: Path, root: Path) -> None:
    written = build_index(open_dataset(f"imagefolder:{photos}", data=root))
    none = np.zeros(len(written), np.int32)
    store = IndexStore(root, written.source.name)
    write_index(store, replace(written, widths=none, heights=none))
    assert known_sizes(store) == {}


def test_nothing_is_known_of_a_dataset_that_was_never_indexed(root: Path) -> None:
    assert known_sizes(IndexStore(root, "photos")) == {}
