"""Damage is always detected, named and quarantined, and only its rows are to be made again."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from feature_cache import (
    CorruptFileError,
    FeatureCacheError,
    FeatureStore,
    inspect_store,
    list_files,
    quarantine_file,
    write_table,
)
from feature_cache.feature_table import Features

ENCODER, OTHER = "ab" * 32, "cd" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(6)]
Damage = Callable[[Path], None]


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


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def exchange_contents(path: Path) -> None:
    other = next(each for each in list_files(path.parent) if each != path)
    assert isinstance(other, Path)
    ours, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(ours)


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_a_link(path: Path) -> None:
    path.rename(path.parent / "elsewhere")
    path.symlink_to("elsewhere")


def put_a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


DAMAGES: dict[str, Damage] = {
    "a flipped bit": flip_a_bit,
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "longer than it was": lambda path: path.write_bytes(path.read_bytes() + b"\0") and None,
    "contents exchanged": exchange_contents,
    "renamed to another digest": lambda path: path.rename(path.with_stem("0" * 64)) and None,
    "a folder": put_a_folder,
    "a pipe": put_a_pipe,
    "a link to the very file": put_a_link,
    "a link to nowhere": put_a_dangling_link,
}


@pytest.fixture(params=DAMAGES.values(), ids=DAMAGES.keys())
def damage(request: pytest.FixtureRequest) -> Damage:
    made: Damage = request.param
    return made


def test_damage_is_named_by_inspection(store: FeatureStore, damage: Damage) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    damage(path)
    found = problems(store.root)
    assert found
    assert set(found.values()) == {CorruptFileError}
    assert path in found or path.with_stem("0" * 64) in found


def test_damage_is_named_by_every_reader(store: FeatureStore, damage: Damage) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    damage(path)
    with pytest.raises(CorruptFileError) as refused:
        store.missing_images(KEYS)
    assert refused.value.path in problems(store.root)


def test_only_what_the_damage_held_is_made_again(store: FeatureStore, damage: Damage) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    damage(path)
    n_damaged = len(problems(store.root))
    tolerant = replace(store, on_corruption=quarantine_file)
    missing = tolerant.missing_images(KEYS)
    assert len(missing) == 2 * n_damaged
    assert len(list(store.folder.glob("image/*.damaged"))) == n_damaged
    tolerant.append_images(missing, encode(missing))
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
    assert problems(store.root) == {}


def test_a_file_copied_under_another_digest_is_named_and_the_rows_stay(
    store: FeatureStore,
) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    copy = path.with_stem("f" * 64)
    copy.write_bytes(path.read_bytes())
    assert problems(store.root) == {copy: CorruptFileError}
    assert replace(store, on_corruption=quarantine_file).missing_images(KEYS) == []
    assert problems(store.root) == {}


@pytest.mark.parametrize("name", ["features.parquet", "copy of {0}.parquet", "{0}.PARQUET"])
def test_a_file_renamed_to_what_is_no_digest_is_named_and_its_rows_are_missing(
    store: FeatureStore, name: str
) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    renamed = path.rename(path.with_name(name.format(path.stem)))
    assert problems(store.root, deep=False) == {renamed: CorruptFileError}
    assert len(store.missing_images(KEYS)) == 2


def test_one_flipped_bit_is_detected_at_every_position(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, ENCODER)
    path = store.append_images(KEYS[:1], encode(KEYS[:1]))
    assert isinstance(path, Path)
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        assert list(problems(tmp_path)) == [path], position


def test_a_truncated_file_is_detected_at_every_length(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, ENCODER)
    path = store.append_images(KEYS[:1], encode(KEYS[:1]))
    assert isinstance(path, Path)
    for length in reversed(range(path.stat().st_size)):
        os.truncate(path, length)
        assert list(problems(tmp_path)) == [path], length


def test_a_writer_replaces_a_link_by_the_file_of_that_name(store: FeatureStore) -> None:
    path = store.append_images(KEYS[:2], encode(KEYS[:2]))
    assert isinstance(path, Path)
    put_a_link(path)
    table = pq.read_table(path.parent / "elsewhere")
    write_table(path.parent, table, kind="image-features", owner=ENCODER, compression="none")
    assert path.is_file()
    assert not path.is_symlink()
    assert problems(store.root) == {}


def test_a_file_that_was_replaced_before_it_could_be_quarantined_gets_its_name_back(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    intact = path.read_bytes()
    flip_a_bit(path)
    real_move = Path.replace

    def heal_then_move(self: Path, target: Path) -> Path:
        if self == path:
            path.write_bytes(intact)
        return real_move(self, target)

    monkeypatch.setattr(Path, "replace", heal_then_move)
    replace(store, on_corruption=quarantine_file).missing_images(KEYS)
    assert path.read_bytes() == intact
    assert list(store.folder.glob("image/*.damaged")) == []


def test_of_two_readers_that_quarantine_the_same_file_the_later_one_continues(
    store: FeatureStore,
) -> None:
    path = list_files(store.folder / "image")[0]
    assert isinstance(path, Path)
    error = CorruptFileError(path, "it was seen to be damaged")
    flip_a_bit(path)
    quarantine_file(path, error)
    quarantine_file(path, error)
    assert len(list(store.folder.glob("image/*.damaged"))) == 1
