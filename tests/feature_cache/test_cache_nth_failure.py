"""The Nth write, sync, rename or removal fails, for every N: the old state or the new, never half."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from feature_cache import (
    INDEX_SCHEMA,
    QUARANTINE_SCHEMA,
    FeatureStore,
    IndexStore,
    compact_folder,
    inspect_store,
    stored_folders,
)
from feature_cache.feature_table import Features

ENCODER = "ab" * 32
KEYS = [hashlib.sha256(bytes([number])).digest() for number in range(6)]
DESCRIPTION = {"model": "glyphs", "precision": "fp32"}
CALLS = ("write", "fsync", "replace", "mkdir", "unlink")
State = tuple[frozenset[bytes], frozenset[str], frozenset[str]]


class FailingDisk:
    """Counts the calls that change the disk, and lets one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, *, refuse_for: int) -> None:
        self.n_calls, self._fatal, self._reason = 0, number, refuse_for
        for name in CALLS:
            monkeypatch.setattr(os, name, self._counting(getattr(os, name)))

    def _counting(self, call: Callable[..., object]) -> Callable[..., object]:
        def count_and_call(*arguments: object, **keywords: object) -> object:
            self.n_calls += 1
            if self.n_calls == self._fatal:
                raise OSError(self._reason, os.strerror(self._reason))
            return call(*arguments, **keywords)

        return count_and_call


def encode(keys: list[bytes]) -> Features:
    return np.stack([np.frombuffer(key, np.uint8).astype(np.float32) for key in keys])


def index() -> tuple[pa.Table, pa.Table]:
    common = {"index_fingerprint": "f1", "dataset": "pets", "n_bytes": 1000}
    image = {"label": 0, "class_name": "cat", "split": "train", "width": 64, "height": 48}
    images = [
        {**common, **image, "row": row, "image_sha256": key, "path": f"{row}.jpg"}
        for row, key in enumerate(KEYS)
    ]
    bad = [{**common, "path": "bad.jpg", "reason": "truncated"}]
    return (
        pa.Table.from_pylist(images, schema=INDEX_SCHEMA),
        pa.Table.from_pylist(bad, schema=QUARANTINE_SCHEMA),
    )


def index_encode_and_compact(root: Path) -> None:
    """Index, describe, encode what is missing in batches of two, compact."""
    IndexStore(root, "pets").write(*index())
    store = FeatureStore(root, ENCODER)
    store.describe(DESCRIPTION)
    missing = store.missing_images(KEYS)
    for start in range(0, len(missing), 2):
        store.append_images(missing[start : start + 2], encode(missing[start : start + 2]))
    for folder in stored_folders(root):
        compact_folder(folder)


def readable(root: Path) -> State:
    """All that can be read; and what can be read is right."""
    store = FeatureStore(root, ENCODER)
    held = [key for key in KEYS if key not in set(store.missing_images(KEYS))]
    if held:
        np.testing.assert_array_equal(store.read_images(held), encode(held))
    indexes = IndexStore(root, "pets")
    for fingerprint in indexes.fingerprints():
        assert indexes.read(fingerprint).equals(index()[0])
        assert indexes.read_quarantine(fingerprint).equals(index()[1])
    return (
        frozenset(held),
        frozenset(store.description().items()),  # type: ignore[arg-type]
        frozenset(indexes.fingerprints()),
    )


@pytest.mark.slow
@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_whichever_call_fails_only_whole_steps_are_seen_and_the_work_can_be_repeated(
    tmp_path: Path, reason: int
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = FailingDisk(monkeypatch, 0, refuse_for=reason)
        index_encode_and_compact(tmp_path / "whole")
    whole = readable(tmp_path / "whole")
    assert len(whole[0]) == len(KEYS)
    for number in range(1, disk.n_calls + 1):
        root = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as monkeypatch:
            FailingDisk(monkeypatch, number, refuse_for=reason)
            with pytest.raises(OSError, match=os.strerror(reason)):
                index_encode_and_compact(root)
        check_sound(root)
        seen = readable(root)
        assert all(some <= every for some, every in zip(seen, whole, strict=True))
        assert len(seen[0]) % 2 == 0, "half a batch is readable"
        index_encode_and_compact(root)
        assert readable(root) == whole
        check_sound(root)
    assert disk.n_calls > 40, "the work makes fewer calls than intended"


def check_sound(root: Path) -> None:
    findings = list(inspect_store(root, deep=True))
    assert [str(each.problem) for each in findings if each.problem is not None] == []
    assert list(root.rglob("*.tmp")) == []
