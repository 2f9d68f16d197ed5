"""Compaction that is interrupted, or not alone, loses no row."""

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from feature_cache import (
    FeatureStore,
    compact_folder,
    compaction,
    list_files,
    storage,
    stored_folders,
    write_table,
)
from feature_cache.feature_table import Features

ENCODER = "ab" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(40)]
STEPS = ("write", "fsync", "replace", "unlink")

DYING_COMPACTION = """
import os, sys
from pathlib import Path
from feature_cache import compact_folder, stored_folders

left = int(sys.argv[2])

def dying(call):
    def count_down(*arguments, **keywords):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*arguments, **keywords)
    return count_down

for name in ("write", "fsync", "replace", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
for folder in stored_folders(Path(sys.argv[1])):
    compact_folder(folder)
"""


def encode(keys: list[bytes]) -> Features:
    return np.stack([np.frombuffer(key, np.uint8).astype(np.float32) for key in keys])


def fill(root: Path, *, n_files: int) -> FeatureStore:
    store = FeatureStore(root, ENCODER)
    size = len(KEYS) // n_files
    for start in range(0, len(KEYS), size):
        store.append_images(KEYS[start : start + size], encode(KEYS[start : start + size]))
    return store


def compact_images(root: Path) -> None:
    for folder in stored_folders(root):
        compact_folder(folder)


def n_files(store: FeatureStore) -> int:
    return len(list_files(store.folder / "image"))


@pytest.mark.slow
def test_killed_at_any_call_the_union_is_what_it_was(tmp_path: Path) -> None:
    original = fill(tmp_path / "original", n_files=4)
    for call in range(40):
        root = tmp_path / str(call)
        shutil.copytree(original.root, root)
        arguments = [sys.executable, "-c", DYING_COMPACTION, str(root), str(call)]
        ended = subprocess.run(arguments, check=False, timeout=60)
        assert ended.returncode in {0, 9}
        store = FeatureStore(root, ENCODER)
        np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
        compact_images(root)
        assert n_files(store) == 1
        np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
        if ended.returncode == 0:
            break
    # One write, one rename, four removals; a sync of the file and of the folder after each.
    assert call == 1 + 1 + 4 + 6


def test_of_two_features_for_one_key_the_same_counts_at_every_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the name of the merged file, which is drawn, sorts among the others."""
    real_remove = storage.remove
    places = set()
    for stamp in range(12):
        root = tmp_path / str(stamp)
        store = FeatureStore(root, ENCODER)
        for number in range(5):
            store.append_images(KEYS[:1], np.full((1, 3), number, np.float32))
        before = store.read_images(KEYS[:1])

        def look_and_remove(path: Path, root: Path = root, before: Features = before) -> None:
            # A new store each time: one that has read the folder before remembers its rows.
            np.testing.assert_array_equal(FeatureStore(root, ENCODER).read_images(KEYS[:1]), before)
            real_remove(path)

        names = [path.name for path in list_files(store.folder / "image")]
        monkeypatch.setattr(compaction.secrets, "token_hex", lambda _, stamp=stamp: str(stamp))
        monkeypatch.setattr(storage, "remove", look_and_remove)
        compact_images(root)
        [merged] = list_files(store.folder / "image")
        places.add(sum(name < merged.name for name in names))
        np.testing.assert_array_equal(store.read_images(KEYS[:1]), before)
    assert {0, 5} <= places


def compact_and_read(root: Path) -> int:
    """Compact, read everything, and return how often rows were missing; runs in another process."""
    store = FeatureStore(root, ENCODER)
    lacking = 0
    for _ in range(5):
        compact_images(root)
        lacking += bool(store.missing_images(KEYS))
    return lacking


@pytest.mark.slow
def test_compactions_and_readers_in_several_processes_lose_nothing(tmp_path: Path) -> None:
    store = fill(tmp_path, n_files=40)
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        working = [pool.submit(compact_and_read, tmp_path) for _ in range(3)]
        while not all(each.done() for each in working):
            np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
        assert [each.result() for each in working] == [0, 0, 0]
    compact_images(tmp_path)
    assert n_files(store) == 1
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))


@pytest.mark.slow
def test_readers_meanwhile_get_every_row(tmp_path: Path) -> None:
    store = fill(tmp_path, n_files=40)

    def write_and_compact(number: int) -> None:
        key = hashlib.sha256(f"new {number}".encode()).digest()
        store.append_images([key], encode([key]))
        compact_images(tmp_path)

    with ThreadPoolExecutor(2) as pool:
        working = [pool.submit(write_and_compact, number) for number in range(20)]
        while not all(each.done() for each in working):
            assert store.missing_images(KEYS) == []
            np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))
        for each in working:
            each.result()
    assert store.statistics().n_images == 60


def test_a_reader_whose_listing_shows_neither_old_nor_new_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a folder may be listed while the merged file comes and the others go."""
    store = fill(tmp_path, n_files=4)
    real_list = storage.list_entries
    listed: list[Path] = []

    def half_blind(folder: Path) -> list[object]:
        listed.append(folder)
        return [*real_list(folder)[: 1 if len(listed) == 1 else None]]

    monkeypatch.setattr(storage, "list_entries", half_blind)
    np.testing.assert_array_equal(store.read_images(KEYS), encode(KEYS))


def test_a_compaction_that_finds_its_rows_in_another_file_does_not_rely_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another compaction is about to remove that file, for which it has just made up."""
    store = FeatureStore(tmp_path, ENCODER)
    first = store.append_images(KEYS[:4], encode(KEYS[:4]))
    order = (1, 0, 2, 3), (2, 1, 0, 3), (3, 2, 1, 0), (3, 1, 2, 0)
    for places in order:
        keys = [KEYS[place] for place in places]
        store.append_images(keys, encode(keys))
    relied_upon = list_files(store.folder / "image")
    real_write = write_table

    def write_and_let_the_other_remove(*arguments: object, **keywords: object) -> object:
        path = real_write(*arguments, **keywords)  # type: ignore[arg-type]
        for each in relied_upon:
            os.unlink(str(each))  # noqa: PTH108  # a location, of either kind
        return path

    monkeypatch.setattr("feature_cache.compaction.write_table", write_and_let_the_other_remove)
    compact_images(tmp_path)
    assert first in relied_upon
    np.testing.assert_array_equal(store.read_images(KEYS[:4]), encode(KEYS[:4]))
