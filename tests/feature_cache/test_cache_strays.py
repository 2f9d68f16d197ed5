"""Intact files in a folder where they do not belong, or from a later version."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_cache import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    FeatureCacheError,
    FeatureStore,
    IndexStore,
    MisplacedFileError,
    NewerFormatError,
    NotStoredError,
    WrongSchemaError,
    inspect_store,
    list_files,
    quarantine_file,
    raise_on_corruption,
    write_table,
)
from feature_cache.feature_table import Features
from feature_cache.parquet_file import FORMAT_KEY

ENCODER, OTHER = "ab" * 32, "cd" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(6)]
ONE_IMAGE = {
    "index_fingerprint": "f1",
    "dataset": "pets",
    "row": 0,
    "image_sha256": KEYS[0],
    "path": "cat/0.jpg",
    "label": 0,
    "class_name": "cat",
    "split": "train",
    "group": None,
    "width": 64,
    "height": 48,
    "n_bytes": 1000,
}


def feature_of(key: bytes) -> Features:
    return np.frombuffer(key[:4], np.uint8).astype(np.float32)


def encode(keys: list[bytes]) -> Features:
    return np.stack([feature_of(key) for key in keys])


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Six images in three files."""
    store = FeatureStore(tmp_path, ENCODER)
    for start in (0, 2, 4):
        store.append_images(KEYS[start : start + 2], encode(KEYS[start : start + 2]))
    return store


def problems(root: Path, *, deep: bool = True) -> dict[Path, type[FeatureCacheError]]:
    return {
        Path(str(finding.path)): type(finding.problem)
        for finding in inspect_store(root, deep=deep)
        if finding.problem is not None
    }


def test_files_exchanged_between_two_encoders_are_named(tmp_path: Path) -> None:
    ours, theirs = (FeatureStore(tmp_path, encoder) for encoder in (ENCODER, OTHER))
    our_file = ours.append_images(KEYS[:1], encode(KEYS[:1]))
    their_file = theirs.append_images(KEYS[1:2], encode(KEYS[1:2]))
    moved = [theirs.folder / "image" / our_file.name, ours.folder / "image" / their_file.name]
    for path, to in zip((our_file, their_file), moved, strict=True):
        Path(str(path)).rename(Path(str(to)))
    for deep in (False, True):
        assert problems(tmp_path, deep=deep) == dict.fromkeys(moved, MisplacedFileError)
    with pytest.raises(MisplacedFileError, match=r"belongs to .*: move the file back"):
        ours.missing_images(KEYS)
    assert replace(ours, on_corruption=quarantine_file).missing_images(KEYS[:2]) == KEYS[:2]


def test_a_file_moved_to_another_dataset_is_named(tmp_path: Path) -> None:
    images = pa.Table.from_pylist([ONE_IMAGE], schema=INDEX_SCHEMA)
    IndexStore(tmp_path, "pets").write(images, QUARANTINE_SCHEMA.empty_table())
    [path] = (tmp_path / "datasets" / "pets" / "images").iterdir()
    other = IndexStore(tmp_path, "cars")
    (tmp_path / "datasets" / "cars" / "images").mkdir(parents=True)
    moved = path.rename(tmp_path / "datasets" / "cars" / "images" / path.name)
    assert problems(tmp_path) == {moved: MisplacedFileError}
    with pytest.raises(MisplacedFileError, match="belongs to 'pets'"):
        other.fingerprints()
    assert replace(other, on_corruption=quarantine_file).fingerprints() == set()


def test_a_file_moved_from_images_to_prompts_is_named(store: FeatureStore) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    (store.folder / "text").mkdir()
    moved = path.rename(store.folder / "text" / path.name)
    assert problems(store.root) == {moved: MisplacedFileError}
    with pytest.raises(MisplacedFileError, match="'image-features' rows where 'text-features'"):
        store.missing_prompts(["a"])
    assert replace(store, on_corruption=quarantine_file).missing_prompts(["a"]) == ["a"]
    assert problems(store.root) == {}


def in_format_2(table: pa.Table) -> bytes:
    declared = {"clip-adapter.format": "2", "clip-adapter.kind": "image-features"}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(declared), sink)
    return bytes(sink.getvalue())


def test_a_newer_format_is_named_and_left_where_it_is(store: FeatureStore) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    table = pq.read_table(path)
    assert FORMAT_KEY in table.schema.metadata
    content = in_format_2(table)
    newer = path.with_stem(hashlib.sha256(content).hexdigest())
    path.unlink()
    newer.write_bytes(content)
    assert problems(store.root) == {newer: NewerFormatError}
    with pytest.raises(NewerFormatError, match="upgrade"):
        store.missing_images(KEYS)
    tolerant = replace(store, on_corruption=quarantine_file)
    missing = tolerant.missing_images(KEYS)
    assert len(missing) == 2
    tolerant.append_images(missing, encode(missing))
    np.testing.assert_array_equal(tolerant.read_images(KEYS), encode(KEYS))
    assert newer.read_bytes() == content


def test_of_two_widths_that_of_the_first_file_is_kept_and_the_other_quarantined(
    tmp_path: Path,
) -> None:
    store = FeatureStore(tmp_path, ENCODER, on_corruption=quarantine_file)
    widths = {}
    for number, width in enumerate((4, 5, 4, 5)):
        other = FeatureStore(tmp_path / str(number), ENCODER)
        path = other.append_images([KEYS[number]], np.ones((1, width), np.float32))
        store.folder.joinpath("image").mkdir(parents=True, exist_ok=True)
        Path(str(path)).rename(store.folder / "image" / path.name)
        widths[path.name] = (width, KEYS[number])
    kept_width = widths[min(widths)][0]
    kept = [key for width, key in widths.values() if width == kept_width]
    with pytest.raises(WrongSchemaError, match="delete one of the two"):
        replace(store, on_corruption=raise_on_corruption).read_images(KEYS[:4])
    with pytest.raises(NotStoredError, match="2 of 4"):
        store.read_images(KEYS[:4])
    assert store.missing_images(KEYS[:4]) == [key for key in KEYS[:4] if key not in kept]
    assert store.read_images(kept).shape == (2, kept_width)


def test_a_file_of_features_without_that_column_is_named(store: FeatureStore) -> None:
    columns = {"image_sha256": pa.array(KEYS[:1], pa.binary(32)), "view": pa.array([0], pa.int16())}
    keys = pa.table(columns)
    path = write_table(store.folder / "image", keys, kind="image-features", owner=ENCODER)
    assert problems(store.root) == {path: WrongSchemaError}
