import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feature_cache import FeatureStore, quarantine_file, verify_file
from feature_cache.errors import CorruptFileError

Command = Callable[..., Any]
IMAGES = [bytes(31) + end for end in (b"\0", b"1", b"2")]


@pytest.fixture(name="leftovers")
def _leftovers(image_files: list[Path], flip_a_bit: Callable[[Path], None]) -> list[Path]:
    """One file set aside, and one that a writer left two days ago."""
    damaged = image_files[0]
    flip_a_bit(damaged)
    with pytest.raises(CorruptFileError) as caught:
        verify_file(damaged)
    quarantine_file(damaged, caught.value)
    unfinished = damaged.parent / f".{'0' * 64}.{'0' * 16}.tmp"
    unfinished.write_bytes(b"half a fi")
    os.utime(unfinished, (0, 0))
    return [*damaged.parent.glob("*.damaged"), unfinished]


def test_leftovers_are_removed_and_counted(cache: Command, leftovers: list[Path]) -> None:
    outcome = cache("gc")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith("1 unfinished file, 1 damaged file removed, ")
    assert not any(path.exists() for path in leftovers)
    assert cache("gc").out == "nothing to remove\n"


def test_a_dry_run_removes_nothing_and_tells_the_room(
    cache: Command, leftovers: list[Path]
) -> None:
    told = json.loads(cache("gc", "--dry-run", "--json").out)
    assert told["dry_run"]
    assert told["leftovers"] == [str(path) for path in sorted(leftovers)]
    assert told["bytes"] == sum(path.stat().st_size for path in leftovers)
    assert "would go" in cache("gc", "--dry-run").out
    assert all(path.exists() for path in leftovers)


def test_features_without_an_index_stay_unless_asked_for(
    cache: Command, store: FeatureStore
) -> None:
    assert cache("gc", "--yes").out == "nothing to remove\n"
    assert store.missing_images(IMAGES) == []


def test_unreferenced_features_are_told_before_they_go(cache: Command, store: FeatureStore) -> None:
    outcome = cache("gc", "--unreferenced", "--dry-run")
    assert outcome.out.startswith("4 unreferenced features would go, ")
    assert store.missing_images(IMAGES) == []


def test_unreferenced_features_go_with_a_yes_and_prompts_stay(
    cache: Command, store: FeatureStore
) -> None:
    told = json.loads(cache("gc", "--unreferenced", "--yes", "--json").out)
    assert told["unreferenced_features"] == 4
    assert store.missing_images(IMAGES) == IMAGES
    assert store.missing_prompts(["a photo of a cat."]) == []


def test_where_nobody_can_be_asked_nothing_is_dropped(
    cache: Command, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    outcome = cache("gc", "--unreferenced")
    assert outcome.code == 2
    assert "--yes" in outcome.err
    assert store.missing_images(IMAGES) == []


@pytest.mark.parametrize(("answer", "ending"), [("y", (0, 3)), ("n", (1, 0))])
def test_a_person_is_asked_and_obeyed(
    cache: Command,
    store: FeatureStore,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    ending: tuple[int, int],
) -> None:
    monkeypatch.setattr("clip_adapter.cli.cache.gc._is_interactive", lambda **_: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
    outcome = cache("gc", "--unreferenced")
    assert (outcome.code, len(store.missing_images(IMAGES))) == ending
    assert "Drop 4 features of images (no dataset is indexed here)?" in outcome.err


def test_what_cannot_be_trusted_might_name_images_so_nothing_is_dropped(
    cache: Command, store: FeatureStore, root: Path
) -> None:
    index = root / "datasets" / "cats" / "images" / f"{'0' * 64}.parquet"
    index.parent.mkdir(parents=True)
    index.write_bytes(b"no index at all")
    outcome = cache("gc", "--unreferenced", "--yes")
    assert outcome.code == 1
    assert str(index) in outcome.err
    assert store.missing_images(IMAGES) == []
