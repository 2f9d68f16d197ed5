"""Compaction: fewer files, the same rows."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_cache import (
    CorruptFileError,
    FeatureStore,
    StoredFolder,
    compact_folder,
    compaction,
    inspect_store,
    list_files,
    quarantine_file,
    read_tables,
    stored_folders,
    write_table,
)
from feature_cache.feature_table import Features

ENCODER = "ab" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(5)]
METRICS = pa.schema([pa.field("run_id", pa.string()), pa.field("value", pa.float64())])
Rows = dict[tuple[bytes, int], bytes]


def compact_all(root: Path) -> None:
    for folder in stored_folders(root):
        compact_folder(folder)


def union(store: FeatureStore, views: range = range(3)) -> Rows:
    """What a reader gets for each key and view, bit for bit."""
    rows: Rows = {}
    for view in views:
        missing = set(store.missing_images(KEYS, view=view))
        held = [key for key in KEYS if key not in missing]
        for key, feature in zip(held, store.read_images(held, view=view), strict=True):
            rows[key, view] = feature.tobytes()
    return rows


def noise(seed: int, n: int) -> Features:
    return np.random.default_rng(seed).standard_normal((n, 3), np.float32)


# One feature for one key differs from file to file: the worst that two machines can do.
batches = st.lists(
    st.tuples(st.lists(st.sampled_from(KEYS), min_size=1, max_size=5), st.integers(0, 2)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)  # a disk that syncs keeps no deadline
@given(batches=batches)
def test_the_union_of_rows_stays_bit_for_bit_and_lies_in_one_file(
    batches: list[tuple[list[bytes], int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), ENCODER)
        for seed, (keys, view) in enumerate(batches):
            store.append_images(keys, noise(seed, len(keys)), view=view)
        before = union(store)
        n_files = len(list_files(store.folder / "image"))
        compact_all(Path(folder))
        assert union(store) == before
        assert len(list_files(store.folder / "image")) == 1
        if n_files > 1:
            assert store.statistics().n_views == len(before)
        assert all(finding.problem is None for finding in inspect_store(Path(folder), deep=True))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path, ENCODER)
    for number, key in enumerate(KEYS):
        store.append_images([key], noise(number, 1))
    return store


def image_folder(store: FeatureStore) -> StoredFolder:
    return next(each for each in stored_folders(store.root) if each.kind == "image-features")


def test_what_was_done_is_told(store: FeatureStore) -> None:
    store.append_images(KEYS[:2], noise(9, 2))
    done = compact_folder(image_folder(store))
    assert done is not None
    assert (done.n_files_before, done.n_files_after, done.n_rows_dropped) == (6, 1, 2)


def test_a_single_file_is_left_alone(store: FeatureStore) -> None:
    compact_folder(image_folder(store))
    [before] = list_files(store.folder / "image")
    assert compact_folder(image_folder(store)) is None
    assert list_files(store.folder / "image") == [before]


def test_few_files_are_left_alone_when_more_are_asked_for(store: FeatureStore) -> None:
    assert compact_folder(image_folder(store), at_least=6) is None
    assert len(list_files(store.folder / "image")) == 5


def test_full_files_are_left_alone(store: FeatureStore) -> None:
    before = list_files(store.folder / "image")
    assert compact_folder(image_folder(store), below_bytes=1) is None
    assert list_files(store.folder / "image") == before


def test_small_files_are_merged_into_files_of_up_to_twice_their_size(store: FeatureStore) -> None:
    before = union(store)
    sizes = [Path(str(path)).stat().st_size for path in list_files(store.folder / "image")]
    compact_folder(image_folder(store), below_bytes=max(sizes) + 1)
    assert len(list_files(store.folder / "image")) == 3
    assert union(store) == before


def test_merged_files_do_not_grow_beyond_the_full_size(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = union(store)
    sizes = [Path(str(path)).stat().st_size for path in list_files(store.folder / "image")]
    monkeypatch.setattr(compaction, "FULL_SIZE_BYTES", 2 * max(sizes))
    compact_folder(image_folder(store))
    assert len(list_files(store.folder / "image")) == 3
    assert union(store) == before


def test_features_of_different_width_are_not_merged(store: FeatureStore) -> None:
    other = FeatureStore(store.root / "other", ENCODER)
    for number in (7, 8):
        intruder = other.append_images([bytes([number]) * 32], np.ones((1, 4), np.float32))
        Path(str(intruder)).rename(store.root / "features" / ENCODER / "image" / intruder.name)
    compact_folder(image_folder(store))
    assert len(list_files(store.folder / "image")) == 2


def test_a_row_that_two_writers_wrote_is_kept_once(tmp_path: Path) -> None:
    rows = pa.table({"run_id": ["a", "b", None], "value": [1.0, None, 2.0]}, schema=METRICS)
    for start in range(2):
        write_table(tmp_path / "runs" / "metrics", rows.slice(start), kind="metrics")
    compact_all(tmp_path)
    found = read_tables(tmp_path / "runs" / "metrics", kind="metrics", schema=METRICS)
    assert found.sort_by("run_id").equals(rows.sort_by("run_id"))


def test_rows_of_an_older_writer_without_a_column_are_not_merged_with_newer_ones(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs" / "metrics"
    rows = pa.table({"run_id": ["a"], "value": [1.0]}, schema=METRICS)
    write_table(folder, rows, kind="metrics")
    write_table(folder, rows.select(["run_id"]), kind="metrics")
    compact_all(tmp_path)
    assert len(list_files(folder)) == 2


def test_a_damaged_file_is_never_merged(store: FeatureStore) -> None:
    path = Path(str(list_files(store.folder / "image")[2]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=path.name):
        compact_folder(image_folder(store))
    assert len(list_files(store.folder / "image")) == 5
    compact_folder(image_folder(store), on_corruption=quarantine_file)
    assert len(store.missing_images(KEYS)) == 1
    assert len(list_files(store.folder / "image")) == 1


def test_two_compactions_of_the_same_files_write_different_ones(store: FeatureStore) -> None:
    twin = FeatureStore(store.root / "twin", ENCODER)
    for number, key in enumerate(KEYS):
        twin.append_images([key], noise(number, 1))
    assert [each.name for each in list_files(twin.folder / "image")] == [
        each.name for each in list_files(store.folder / "image")
    ]
    for each in (store, twin):
        compact_folder(image_folder(each))
    [ours], [theirs] = list_files(store.folder / "image"), list_files(twin.folder / "image")
    assert ours.name != theirs.name
