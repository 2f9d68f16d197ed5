import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache import FeatureStore

Command = Callable[..., Any]
IMAGES = [bytes(31) + bytes([number]) for number in range(9)]


@pytest.fixture(name="crowded")
def _crowded(root: Path) -> FeatureStore:
    """Nine images in nine files."""
    store = FeatureStore(root, "0123456789abcdef")
    for number, digest in enumerate(IMAGES):
        store.append_images([digest], np.full((1, 4), number, np.float32))
    return store


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_many_small_files_become_one_and_no_feature_is_lost(
    cache: Command, crowded: FeatureStore, root: Path
) -> None:
    outcome = cache("compact")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "9 files of 1 folder are 1 now"
    assert len(files_below(root)) == 1
    assert crowded.read_images(IMAGES)[:, 0].tolist() == list(range(9))


def test_compacting_again_finds_nothing_to_do(cache: Command, crowded: FeatureStore) -> None:
    cache("compact")
    assert cache("compact").out.startswith("nothing to merge")
    assert json.loads(cache("compact", "--json").out)["folders"] == []
    assert crowded.missing_images(IMAGES) == []


@pytest.mark.usefixtures("crowded")
def test_a_dry_run_tells_and_changes_nothing(cache: Command, root: Path) -> None:
    before = files_below(root)
    assert cache("compact", "--dry-run").out.endswith("would be merged; nothing was changed\n")
    told = json.loads(cache("compact", "--dry-run", "--json").out)
    assert files_below(root) == before
    assert told["dry_run"]
    (row,) = told["folders"]
    assert row["files_before"] == 9
    assert row["folder"].endswith("0123456789abcdef/image")


def test_a_damaged_file_stays_and_is_named_while_the_others_are_merged(
    cache: Command, crowded: FeatureStore, root: Path, flip_a_bit: Callable[[Path], None]
) -> None:
    damaged = files_below(root)[4]
    flip_a_bit(damaged)
    outcome = cache("compact")
    assert outcome.code == 1
    assert str(damaged) in outcome.out
    assert "8 files of 1 folder are 1 now" in outcome.out
    assert damaged in files_below(root)
    assert len(files_below(root)) == 2
    assert crowded.encoder in str(damaged)


@pytest.mark.usefixtures("store")
def test_a_few_files_are_left_alone(cache: Command, root: Path) -> None:
    before = files_below(root)
    assert cache("compact").code == 0
    assert files_below(root) == before


def test_an_empty_store_has_nothing_to_merge(cache: Command, root: Path) -> None:
    root.mkdir()
    outcome = cache("compact")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("nothing to merge")
