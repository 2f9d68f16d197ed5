from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from steps import index_dataset

from clip_adapter.datasets import DatasetIndex, Split, build_index, open_dataset
from clip_adapter.pipeline.index import known_sizes, known_splits, read_index, write_index
from clip_adapter.runs import RequestRecord, RequestStore
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
    store = IndexStore(root, "photos")
    assert (known_sizes(store), known_splits(store)) == ({}, {})


def request(root: Path, index: DatasetIndex, *, sequence: int) -> None:
    """Record that this index of a dataset was requested."""
    RequestStore(root).append(
        RequestRecord(
            request_id=f"{sequence:032x}",
            sequence=sequence,
            asked_at=datetime(2026, 11, 29, tzinfo=UTC),
            command="train",
            dataset=index.source.name,
            index_fingerprint=index.fingerprint,
        )
    )


def all_in(index: DatasetIndex, split: Split) -> DatasetIndex:
    return replace(index, splits=(split,) * len(index))


def test_splits_of_all_earlier_indexes_are_known(photos: Path, root: Path) -> None:
    first = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    splits = dict(zip(first.index.image_sha256, first.index.splits, strict=True))
    (photos / "red" / "000.jpg").unlink()
    index_dataset(f"imagefolder:{photos}", root=root, data=root)

    assert known_splits(IndexStore(root, first.name)) == splits


@pytest.mark.parametrize("last", ["train", "val", "test"])
def test_of_different_splits_those_requested_last_are_known(
    photos: Path, root: Path, last: Split
) -> None:
    index = build_index(open_dataset(f"imagefolder:{photos}", data=root))
    store = IndexStore(root, index.source.name)
    states = {split: all_in(index, split) for split in ("train", "val", "test")}
    for state in states.values():
        write_index(store, state)
    asked = [*(state for split, state in states.items() if split != last), states[last]]
    for sequence, state in enumerate(asked, start=1):
        request(root, state, sequence=sequence)

    assert set(known_splits(store).values()) == {last}


def test_an_index_with_copies_in_two_splits_does_not_say_where_the_image_belongs(
    photos: Path, root: Path
) -> None:
    copy = photos / "red" / "copy.jpg"
    copy.write_bytes((photos / "red" / "000.jpg").read_bytes())
    index = build_index(open_dataset(f"imagefolder:{photos}", data=root))
    row, other = (index.paths.index(f"red/{name}.jpg") for name in ("000", "copy"))
    splits = list(index.splits)
    splits[row], splits[other] = "train", "test"
    store = IndexStore(root, index.source.name)
    write_index(store, replace(index, splits=tuple(splits)))

    assert set(index.image_sha256) - known_splits(store).keys() == {index.image_sha256[row]}
