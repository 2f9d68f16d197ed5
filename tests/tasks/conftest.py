"""Tasks as plain functions: `task.fn` runs without a server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.encode_dataset import encode_dataset
from tasks.index_dataset import index_dataset
from tasks.references import EncodedDataset, Encoding

Extract = Callable[..., EncodedDataset]


@pytest.fixture
def extract(root: Path, tiny_model: str) -> Extract:
    """Index a folder of photos and encode what the store at `root` lacks."""

    def run(
        folder: Path,
        *,
        model: str = tiny_model,
        max_bad_fraction: float = 0.05,
        **encoding: Any,
    ) -> EncodedDataset:
        indexed = index_dataset.fn(
            f"imagefolder:{folder}",
            root=root,
            data=root / "images",
            max_bad_fraction=max_bad_fraction,
        )
        return encode_dataset.fn(indexed, Encoding(model=model, **encoding))

    return run


@pytest.fixture
def encoded(extract: Extract, photos: Path) -> EncodedDataset:
    """The ninety photos, encoded."""
    return extract(photos)
