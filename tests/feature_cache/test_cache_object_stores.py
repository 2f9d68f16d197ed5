"""Roots in a folder of this machine and in an object store behave the same."""

import hashlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pytest

from feature_cache import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    CorruptFileError,
    FeatureStore,
    IndexStore,
    Location,
    MisplacedFileError,
    NotStoredError,
    compact_folder,
    drop_unreferenced,
    find_leftovers,
    inspect_store,
    list_files,
    locate,
    quarantine_file,
    remove_leftovers,
    storage,
    stored_folders,
    stores,
)
from feature_cache.feature_table import Features

ENCODER, OTHER = "ab" * 32, "cd" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(12)]


def encode(keys: list[bytes]) -> Features:
    return np.stack([np.frombuffer(key, np.uint8).astype(np.float32) for key in keys])


@pytest.fixture
def store(any_root: Location) -> FeatureStore:
    return FeatureStore(any_root, ENCODER)


def index_of(keys: list[bytes]) -> pa.Table:
    common = {"index_fingerprint": "f1", "dataset": "pets", "n_bytes": 1000, "label": 0}
    image = {"class_name": "cat", "split": "train", "width": 64, "height": 48}
    rows = [
        {**common, **image, "row": row, "image_sha256": key, "path": f"{row}.jpg"}
        for row, key in enumerate(keys)
    ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def damage(path: Location) -> None:
    content = bytearray(bytes(storage.read(path)))
    content[len(content) // 2] ^= 1
    storage.write_atomic(path, pa.py_buffer(bytes(content)))


def test_an_empty_root_holds_nothing(store: FeatureStore) -> None:
    assert stores(store.root) == []
    assert not storage.is_folder(store.root)
    assert store.missing_images(KEYS) == KEYS
    assert list(inspect_store(store.root, deep=True)) == []
    with pytest.raises(NotStoredError):
        store.read_images(KEYS)


def test_features_prompts_and_description_read_back(store: FeatureStore) -> None:
    store.append_images(KEYS[:6], encode(KEYS[:6]))
    store.append_images(KEYS[6:], encode(KEYS[6:]))
    store.append_images(KEYS[:1], encode(KEYS[1:2]), view=3)
    store.append_prompts(["a cat"], encode(KEYS[2:3]))
    store.describe({"model": "glyphs"})
    np.testing.assert_array_equal(store.read_images(KEYS[::-1]), encode(KEYS[::-1]))
    np.testing.assert_array_equal(store.read_images(KEYS[:1], view=3), encode(KEYS[1:2]))
    np.testing.assert_array_equal(store.read_prompts(["a cat"]), encode(KEYS[2:3]))
    assert store.description() == {"model": "glyphs"}
    assert stores(store.root) == [store]
    assert (store.statistics().n_views, store.statistics().n_files) == (13, 5)


def test_an_index_reads_back(any_root: Location) -> None:
    indexes = IndexStore(any_root, "pets")
    indexes.write(index_of(KEYS), QUARANTINE_SCHEMA.empty_table())
    indexes.write(index_of(KEYS), QUARANTINE_SCHEMA.empty_table())
    assert indexes.fingerprints() == {"f1"}
    assert indexes.read("f1").equals(index_of(KEYS))


def test_damage_is_named_quarantined_and_repaired(store: FeatureStore) -> None:
    path = store.append_images(KEYS[:6], encode(KEYS[:6]))
    store.append_images(KEYS[6:], encode(KEYS[6:]))
    damage(path)
    problems = [each for each in inspect_store(store.root, deep=True) if each.problem]
    assert [each.path for each in problems] == [path]
    with pytest.raises(CorruptFileError, match=path.name):
        store.read_images(KEYS)
    tolerant = replace(store, on_corruption=quarantine_file)
    assert tolerant.missing_images(KEYS) == KEYS[:6]
    assert store.append_images(KEYS[:6], encode(KEYS[:6])) == path
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
    [leftover] = find_leftovers(store.root)
    assert leftover.kind == "damaged"
    remove_leftovers([leftover, leftover])
    assert find_leftovers(store.root) == []


def test_a_file_of_another_encoder_is_named_by_its_end_alone(store: FeatureStore) -> None:
    theirs = FeatureStore(store.root, OTHER).append_images(KEYS, encode(KEYS))
    storage.write_atomic(store.folder / "image" / theirs.name, storage.read(theirs))
    problems = [each.problem for each in inspect_store(store.root, deep=False) if each.problem]
    assert [type(each) for each in problems] == [MisplacedFileError]


def test_a_file_that_is_no_parquet_is_named_by_its_end_alone(store: FeatureStore) -> None:
    path = store.append_images(KEYS, encode(KEYS))
    for content in (b"", b"PAR1", b"\xff" * 100):
        storage.write_atomic(path, pa.py_buffer(content))
        [finding] = inspect_store(store.root, deep=False)
        assert isinstance(finding.problem, CorruptFileError)


def test_compaction_keeps_every_row(store: FeatureStore) -> None:
    for key in KEYS:
        store.append_images([key], encode([key]))
    for folder in stored_folders(store.root):
        compact_folder(folder)
    assert len(list_files(store.folder / "image")) == 1
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))


def test_features_of_lost_images_are_told_and_dropped(store: FeatureStore) -> None:
    store.append_images(KEYS[:4], encode(KEYS[:4]))
    store.append_images(KEYS[4:8], encode(KEYS[4:8]))
    store.append_images(KEYS[8:], encode(KEYS[8:]))
    IndexStore(store.root, "pets").write(index_of(KEYS[:6]), QUARANTINE_SCHEMA.empty_table())
    found = list(drop_unreferenced(store.root, dry_run=True))
    assert store.missing_images(KEYS) == []
    assert list(drop_unreferenced(store.root, dry_run=False)) == found
    assert sorted((each.n_rows, each.n_kept) for each in found) == [(2, 2), (4, 0)]
    assert store.missing_images(KEYS) == KEYS[6:]
    np.testing.assert_array_equal(store.read_images(KEYS[:6]), encode(KEYS[:6]))
    assert list(drop_unreferenced(store.root, dry_run=False)) == []


def extract(root: str, start: int) -> None:
    """Encode what is missing, two at a time from some place on; runs in another process."""
    store = FeatureStore(locate(root), ENCODER)
    for place in (*range(start, 12, 2), *range(0, start, 2)):
        missing = store.missing_images(KEYS[place : place + 2])
        if missing:
            store.append_images(missing, encode(missing))


def test_two_writers_at_once_both_finish_and_the_union_is_right(any_root: Location) -> None:
    root = getattr(any_root, "url", str(any_root))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for each in [pool.submit(extract, root, start) for start in (0, 6)]:
            each.result()
    store = FeatureStore(any_root, ENCODER)
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
    assert store.statistics().n_images == len(KEYS)
    assert all(each.problem is None for each in inspect_store(any_root, deep=True))
