"""A small store, and ways to damage it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache import FeatureStore, read_table, write_table

ENCODER = "0123456789abcdef"
Command = Callable[..., Any]


@pytest.fixture
def cache(command: Command, root: Path) -> Command:
    """Run `clip-adapter cache NAME --root ROOT ...`."""

    def run(name: str, *arguments: object) -> Any:
        return partial(command, "cache", name, "--root", root)(*arguments)

    return run


@pytest.fixture
def store(root: Path) -> FeatureStore:
    """Three images, one of them in two views, and a prompt, of an encoder with two names."""
    store = FeatureStore(root, ENCODER)
    store.append_images([bytes(32), bytes(31) + b"1"], np.ones((2, 4), np.float32))
    store.append_images([bytes(31) + b"2"] * 2, np.ones((2, 4), np.float32), view=[0, 1])
    store.append_prompts(["a photo of a cat."], np.ones((1, 4), np.float32))
    store.describe({"model": "tiny", "precision": "fp32"})
    store.describe({"model": "[red]again\x1b[2J", "precision": "fp32"})
    return store


@pytest.fixture
def image_files(store: FeatureStore) -> list[Path]:
    """The two files of image features."""
    return files_of(store)


@pytest.fixture
def flip_a_bit() -> Callable[[Path], None]:
    """Damage a file in its middle, where only reading every byte can notice it."""

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 4] ^= 1
        path.write_bytes(data)

    return flip


@pytest.fixture
def put_newer_format(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Add a file as a later version of this program would write it."""

    def put() -> Path:
        with monkeypatch.context() as later:
            later.setattr("feature_cache.parquet_file.FORMAT_VERSION", 99)
            path = files_of(store)[0]
            table = read_table(path, kind="image-features", owner=ENCODER)
            return write_table(path.parent, table, kind="image-features", owner=ENCODER)

    return put


def files_of(store: FeatureStore) -> list[Path]:
    assert isinstance(store.folder, Path)
    return sorted((store.folder / "image").glob("*.parquet"))
