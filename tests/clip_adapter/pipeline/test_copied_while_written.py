"""A store that is copied while it is written is sound, or says what is missing, and is carried on."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from states import damaged_files
from synthetic_datasets import CLASSES, GOOD, SyntheticDatasets

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.runs import PromotionStore
from feature_cache import storage


def copy_slowly(source: Path, target: Path, *, backwards: bool) -> Iterator[None]:
    """Copy file by file, each folder as it is when its turn comes."""
    target.mkdir()
    for path in sorted(source.iterdir(), reverse=backwards):
        if path.is_dir():
            yield from copy_slowly(path, target / path.name, backwards=backwards)
        else:
            with suppress(FileNotFoundError):  # merged a moment ago
                shutil.copyfile(path, target / path.name)
            yield


@pytest.mark.usefixtures("gallery")
@pytest.mark.parametrize("backwards", [False, True], ids=["from champions", "from runs"])
@pytest.mark.parametrize("every", [1, 2, 4])
def test_a_store_that_is_copied_while_it_is_written_is_carried_on(  # fixtures
    root: Path,
    tmp_path: Path,
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    every: int,
    *,
    backwards: bool,
) -> None:
    """A file is copied with every one to four writes of a training that promotes.

    From champions on, as `cp -r` and `rsync` do it, a decision is copied later than classifiers are.
    """
    copying = copy_slowly(root, tmp_path / "copy", backwards=backwards)
    real, n_writes = storage.write_atomic, 0

    def write_atomic(*args: Any, **kwargs: Any) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes % every == 0:
            next(copying, None)
        real(*args, **kwargs)

    monkeypatch.setattr(storage, "write_atomic", write_atomic)
    retrain(root)
    monkeypatch.undo()
    assert n_writes > 10
    for _ in copying:
        pass
    copy = tmp_path / "copy"
    assert damaged_files(copy) == []
    store = PromotionStore(copy)
    verified = command("cache", "verify", "--deep", "--root", copy)
    missing = store.missing_champions()
    assert (len(missing) > 0) == (not backwards)
    assert verified.code == bool(missing)
    assert all(
        f"promotion {each.promotion[:8]} of gallery names it" in verified.out for each in missing
    )
    retrain(copy)
    champion, expected = (
        PromotionStore(place).champion("gallery", on_corruption=lambda _: None)
        for place in (copy, root)
    )
    assert champion is not None
    assert expected is not None
    assert champion.record.index_fingerprint == expected.record.index_fingerprint
    assert store.missing_champions() == []


def retrain(root: Path) -> None:
    datasets = SyntheticDatasets(root)
    encoded = datasets.make_dataset((*CLASSES, "owl"))
    assert datasets.retrain(encoded, GOOD).record.decision == "promoted"


def test_a_classifier_that_is_gone_is_named_until_it_is_set_aside_or_back(
    root: Path, gallery: EncodedDataset, command: Callable[..., Any]
) -> None:
    (path,) = (root / "champions" / gallery.dataset.name).iterdir()
    content = path.read_bytes()
    path.unlink()
    verified = command("cache", "verify", "--root", root)
    assert verified.code == 1
    for words in (str(path), "it is gone, and promotion", "copy it again"):
        assert words in verified.out
    path.write_bytes(content[:-1])
    assert command("cache", "verify", "--deep", "--repair", "--root", root).code == 0
    assert command("cache", "verify", "--deep", "--root", root).code == 0
