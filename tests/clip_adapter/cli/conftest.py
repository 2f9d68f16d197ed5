"""Commands of the pipeline on ninety photos and a tiny encoder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture
def train(command: Command, photos: Path, root: Path, tiny_model: str) -> Command:
    """Run a quick `clip-adapter train` on the ninety photos."""
    place = ("--root", root, "--model", tiny_model)
    quick = ("--shots", "1", "--seeds", "1,2", "--set", "clip-adapter.epochs=2")
    return partial(command, "train", f"imagefolder:{photos}", *place, *quick)


@pytest.fixture
def extract(command: Command, photos: Path, root: Path, tiny_model: str) -> Command:
    """Run `clip-adapter extract` on the ninety photos."""
    return partial(
        command, "extract", f"imagefolder:{photos}", "--root", root, "--model", tiny_model
    )
