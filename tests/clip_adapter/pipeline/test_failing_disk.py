"""Whichever write, sync, rename or removal fails, a store is old or new, and the next run ends well."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from states import damaged_files, features_in, refuse_unsound, rows_in
from synthetic_datasets import CLASSES, GOOD, SyntheticDatasets
from system_calls import SystemCalls, disk_error

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.runs import PromotionRecord, PromotionStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ExtractInSteps = Callable[..., EncodedDataset]


@pytest.mark.parametrize("lasting", [False, True])
def test_whichever_call_fails_nothing_is_lost_or_wrong(
    tmp_path: Path, extract_in_steps: ExtractInSteps, *, lasting: bool
) -> None:
    """Once, as a disk that has a bad spot; or from then on, as a disk that is full."""
    extract = partial(extract_in_steps, files_worth_merging=4)
    calls = SystemCalls(tmp_path / "undisturbed")
    with replaced(calls):
        n_features = extract(tmp_path / "undisturbed").n_encoded
    whole = rows_in(tmp_path / "undisturbed")
    assert calls.n_calls > 50
    # What a full disk refuses later is what it refuses once: every third place is enough there.
    for number in range(1, calls.n_calls + 1, 3 if lasting else 1):
        root = tmp_path / f"{number}"
        failing = SystemCalls(
            root, lambda at, n=number: at >= n if lasting else at == n, disk_error
        )
        with replaced(failing), pytest.raises(OSError, match=r"No space left|Input/output error"):
            extract(root)
        held = len(features_in(refuse_unsound(root, whole)))
        after = extract(root)
        assert (after.n_reused, after.n_encoded) == (held, n_features - held)
        assert rows_in(root) == whole


def test_a_disk_that_is_full_while_training_or_promoting_is_explained_and_harms_nothing(
    tmp_path: Path, trained_gallery: EncodedDataset
) -> None:
    """From any call on: the champion stays or is the new one, and the same again ends as if undisturbed."""

    def retrain(root: Path) -> PromotionRecord:
        datasets = SyntheticDatasets(root)
        return datasets.retrain(datasets.make_dataset((*CLASSES, "owl")), GOOD).record

    def copied(name: str) -> Path:
        return Path(shutil.copytree(str(trained_gallery.dataset.root), tmp_path / name))

    calls = SystemCalls(tmp_path / "undisturbed")
    before = champion_of(copied("undisturbed"))
    with replaced(calls):
        decision = retrain(tmp_path / "undisturbed").decision
    after = champion_of(tmp_path / "undisturbed")
    assert calls.n_calls > 50
    for number in range(1, calls.n_calls + 1, 5):
        root = copied(f"{number}")

        def fill_up(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        full = SystemCalls(root, lambda at, n=number: at >= n, fill_up)
        with replaced(full), pytest.raises(OSError, match="No space left") as refused:
            retrain(root)
        for words in (str(root), "stored before is complete", "cache stats", "run the same again"):
            assert words in str(refused.value)
        assert damaged_files(root) == []
        assert champion_of(root) in {before, after}
        assert retrain(root).decision == decision
        assert champion_of(root) == after


def champion_of(root: Path) -> tuple[str, str | None]:
    """The state and the classifier of the champion; ids of runs are drawn anew."""
    found = PromotionStore(root).champion("gallery", on_corruption=lambda _: None)
    assert found is not None
    return found.record.index_fingerprint, found.record.classifier_sha256


@contextmanager
def replaced(calls: SystemCalls) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, call in calls.replacements.items():
            patch.setattr(os, name, call)
        yield
