"""Garbage: what no reader reads is found, and nothing else is."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from feature_cache import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    CorruptFileError,
    FeatureStore,
    IndexStore,
    drop_unreferenced,
    find_leftovers,
    garbage,
    remove_leftovers,
    storage,
)
from feature_cache.garbage import WRITERS_LIVE_SECONDS

ENCODER = "ab" * 32
KEYS = [bytes([number]) * 32 for number in range(4)]
TEMPORARY = f".{'0' * 64}.{'1' * 16}.tmp"
DAMAGED = f"{'0' * 64}.1234abcd.damaged"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path, ENCODER)
    store.append_images(KEYS, np.arange(8, dtype=np.float32).reshape(4, 2))
    return store


def record_index(root: Path, dataset: str, keys: list[bytes]) -> None:
    common = {"index_fingerprint": "f1", "dataset": dataset, "n_bytes": 1000, "label": 0}
    image = {"class_name": "cat", "split": "train", "width": 64, "height": 48}
    rows = [
        {**common, **image, "row": row, "image_sha256": key, "path": f"{row}.jpg"}
        for row, key in enumerate(keys)
    ]
    images = pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)
    IndexStore(root, dataset).write(images, QUARANTINE_SCHEMA.empty_table())


def put(store: FeatureStore, name: str, *, age_seconds: float) -> Path:
    path = Path(str(store.folder)) / "image" / name
    path.write_bytes(b"half a file")
    os.utime(path, (1e9 - age_seconds, 1e9 - age_seconds))
    return path


def test_what_a_dead_writer_left_is_found_after_a_day(store: FeatureStore) -> None:
    path = put(store, TEMPORARY, age_seconds=WRITERS_LIVE_SECONDS + 1)
    [leftover] = find_leftovers(store.root, now=1e9)
    assert (leftover.path, leftover.size_bytes, leftover.kind) == (path, 11, "unfinished")


def test_a_report_that_was_never_finished_is_found_too(store: FeatureStore) -> None:
    reports = Path(str(store.root)) / "reports"
    reports.mkdir()
    (reports / "digits.html").write_bytes(b"a whole report")
    unfinished = reports / f".digits.{'0' * 16}.tmp"
    unfinished.write_bytes(b"half a report")
    for path in reports.iterdir():
        os.utime(path, (0, 0))
    assert [each.path for each in find_leftovers(store.root)] == [unfinished]


def test_what_a_living_writer_may_be_writing_is_left_alone(store: FeatureStore) -> None:
    put(store, TEMPORARY, age_seconds=WRITERS_LIVE_SECONDS - 1)
    assert find_leftovers(store.root, now=1e9) == []


def test_quarantined_files_are_found_at_once(store: FeatureStore) -> None:
    path = put(store, DAMAGED, age_seconds=0)
    [leftover] = find_leftovers(store.root, now=1e9)
    assert (leftover.path, leftover.kind) == (path, "damaged")


def test_a_quarantined_folder_is_never_removed(store: FeatureStore) -> None:
    (Path(str(store.folder)) / "image" / DAMAGED).mkdir()
    assert find_leftovers(store.root) == []


@pytest.mark.parametrize("name", ["notes.txt", ".DS_Store", ".a.tmp", "features.parquet"])
def test_what_is_not_of_this_store_is_no_leftover(store: FeatureStore, name: str) -> None:
    put(store, name, age_seconds=WRITERS_LIVE_SECONDS + 1)
    assert find_leftovers(store.root, now=1e9) == []


def test_leftovers_are_removed_and_rows_stay(store: FeatureStore) -> None:
    path = put(store, DAMAGED, age_seconds=0)
    found = find_leftovers(store.root)
    remove_leftovers(found)
    remove_leftovers(found)
    assert not path.exists()
    assert store.missing_images(KEYS) == []


def test_an_image_that_any_dataset_has_is_kept(store: FeatureStore) -> None:
    record_index(store.root, "pets", KEYS[:2])
    record_index(store.root, "cars", KEYS[1:3])
    store.append_prompts(["a cat"], np.ones((1, 2), np.float32))
    [dropped] = drop_unreferenced(store.root, dry_run=False)
    assert (dropped.n_rows, dropped.n_kept) == (1, 3)
    assert store.missing_images(KEYS) == KEYS[3:]
    assert store.missing_prompts(["a cat"]) == []


def test_nothing_is_dropped_while_an_index_cannot_be_trusted(store: FeatureStore) -> None:
    record_index(store.root, "pets", KEYS[:2])
    [index] = (Path(str(store.root)) / "datasets" / "pets" / "images").iterdir()
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=index.name):
        list(drop_unreferenced(store.root, dry_run=False))
    assert store.missing_images(KEYS) == []


def test_interrupted_between_keeping_and_dropping_no_row_is_lost(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_index(store.root, "pets", KEYS[:2])

    def refuse(_: Path) -> None:
        raise PermissionError("read-only")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "remove", refuse)
        with pytest.raises(PermissionError):
            list(drop_unreferenced(store.root, dry_run=False))
    assert store.missing_images(KEYS) == []
    list(drop_unreferenced(store.root, dry_run=False))
    assert store.missing_images(KEYS) == KEYS[2:]


def test_features_that_come_while_the_indexes_are_read_are_kept(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An extraction records its index before its features."""
    record_index(store.root, "pets", KEYS)
    new = bytes([9]) * 32
    real = garbage._referenced

    def read_then_extract(root: Path, **kept: Any) -> pa.Array:
        referenced = real(root, **kept)
        record_index(root, "new", [new])
        store.append_images([new], np.ones((1, 2), np.float32))
        return referenced

    monkeypatch.setattr(garbage, "_referenced", read_then_extract)
    assert list(drop_unreferenced(store.root, dry_run=False)) == []
    assert store.missing_images([new]) == []
