"""Old runs go; those that a champion or the last request rests on stay, and no run is left in part."""

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from interruptions import interrupted
from states import damaged_files
from steps import train_methods
from synthetic_datasets import CLASSES, GOOD, WORTHLESS, SyntheticDatasets

from clip_adapter import train
from clip_adapter.pipeline import prune
from clip_adapter.pipeline.disk_usage import disk_usage
from clip_adapter.pipeline.drop import drop_features
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.prune import PrunedRuns, prune_runs
from clip_adapter.pipeline.stored_rows import read_rows
from clip_adapter.runs import PromotionStore, query, roll_back
from feature_cache import ObjectPath, inspect_store

LATER = datetime.now(UTC) + timedelta(days=1)


def run_ids(root: Path, table: str = "runs") -> set[str]:
    found = query(root, f"SELECT DISTINCT run_id FROM {table}")  # of this file
    return set(found["run_id"].to_pylist())


def splits(root: Path, table: str) -> set[str]:
    found = query(root, f"SELECT DISTINCT split_fingerprint FROM {table}")  # of this file
    return set(found["split_fingerprint"].to_pylist())


def stored_splits(root: Path) -> set[str]:
    """Those that no run has included, which the view leaves out."""
    return set(read_rows(root, "splits", "split_fingerprint")["split_fingerprint"].to_pylist())


def cited(root: Path) -> set[str]:
    return {record.run_id for record in PromotionStore(root).records()}


def make_old(root: Path) -> None:
    for path in root.rglob("*.parquet"):
        os.utime(path, (0, 0))


@pytest.mark.usefixtures("gallery")
def test_the_runs_of_a_champion_stay_with_everything_of_theirs(root: Path) -> None:
    before = {table: run_ids(root, table) for table in ("runs", "metrics", "predictions")}
    assert len(before["runs"]) == 5
    done = prune_runs(root, before=LATER, dry_run=False)
    assert (done.n_runs, done.n_cited, done.n_current) == (4, 1, 0)
    for table, ids in before.items():
        assert run_ids(root, table) == ids & cited(root)
    assert damaged_files(root) == []


@pytest.mark.usefixtures("gallery")
def test_splits_that_no_run_has_go_when_they_are_older_than_a_day(root: Path) -> None:
    before = stored_splits(root)
    for dry_run in (True, False):
        prune_runs(root, before=LATER, dry_run=dry_run)
        assert stored_splits(root) == before
    make_old(root)
    shown = prune_runs(root, before=LATER, dry_run=True)
    assert stored_splits(root) == before
    assert shown == prune_runs(root, before=LATER, dry_run=False)
    assert [rows.kind for rows in shown.removed] == ["splits"]
    assert stored_splits(root) == splits(root, "runs") < before


@pytest.mark.usefixtures("gallery")
def test_old_splits_are_shown_with_their_runs(root: Path) -> None:
    make_old(root)
    shown = prune_runs(root, before=LATER, dry_run=True)
    assert shown == prune_runs(root, before=LATER, dry_run=False)
    assert {"runs", "splits"} <= {rows.kind for rows in shown.removed}
    assert stored_splits(root) == splits(root, "runs")


def test_every_rollback_and_the_next_comparison_work_afterwards(
    root: Path, datasets: SyntheticDatasets
) -> None:
    encoded = datasets.make_dataset()
    first = datasets.retrain(encoded, GOOD | {"shots": (1,)}).record
    second = datasets.retrain(datasets.make_dataset((*CLASSES, "owl")), GOOD).record
    assert (first.decision, second.decision) == ("promoted", "promoted")
    assert prune_runs(root, before=LATER, dry_run=False).n_runs > 0
    assert run_ids(root) == cited(root) == {first.run_id, second.run_id}
    drop_features(root, encoder=encoded.encoder, dry_run=False)
    store = PromotionStore(root)
    roll_back(store, "gallery")
    champion = store.champion("gallery", on_corruption=lambda _: None)
    assert champion is not None
    assert champion.record.promotion == first.promotion_id
    # What went is made again where it is asked for, and compared with the champion of now.
    anew = datasets.retrain(datasets.make_dataset(), GOOD | {"seeds": (3,)}).record
    assert anew.champion_before == first.promotion_id


@pytest.mark.usefixtures("gallery")
def test_without_yes_it_only_counts(root: Path) -> None:
    files = sorted(root.rglob("*"))
    shown = prune_runs(root, before=LATER, dry_run=True)
    assert sorted(root.rglob("*")) == files
    assert shown == prune_runs(root, before=LATER, dry_run=False)
    assert prune_runs(root, before=LATER, dry_run=False) == PrunedRuns(
        removed=(), n_runs=0, n_cited=1, n_current=0
    )


@pytest.mark.usefixtures("gallery")
def test_younger_runs_stay(root: Path) -> None:
    before = run_ids(root)
    done = prune_runs(root, before=datetime.now(UTC) - timedelta(days=1), dry_run=False)
    assert (done.removed, done.n_runs) == ((), 0)
    assert run_ids(root) == before


def test_the_answer_to_the_last_training_stays_and_is_not_trained_again(
    root: Path, photos: Path, tiny_model: str
) -> None:
    asked = {"model": tiny_model, "root": root, "methods": ["gda"], "shots": [1]}
    train(f"imagefolder:{photos}", seeds=[1, 2], **asked)
    train(f"imagefolder:{photos}", seeds=[2, 3], **asked)
    done = prune_runs(root, before=LATER, dry_run=False)
    assert (done.n_runs, done.n_current) == (1, 2)
    assert train(f"imagefolder:{photos}", seeds=[2, 3], **asked).runs.n_trained == 0
    assert train(f"imagefolder:{photos}", seeds=[1, 2], **asked).runs.n_trained == 1


@pytest.mark.usefixtures("gallery")
def test_pruning_that_is_killed_anywhere_leaves_whole_runs_and_is_finished_by_the_next(
    root: Path,
) -> None:
    """A day later: what nothing refers to is removed where no living writer can be about to."""
    end = root.parent / "end"
    shutil.copytree(root, end)
    prune_runs(end, before=LATER, dry_run=False)
    for step, copy in interrupted(root, lambda copy: prune_runs(copy, before=LATER, dry_run=False)):
        assert damaged_files(copy) == []
        assert run_ids(copy) <= run_ids(copy, "metrics")  # no run without its numbers
        make_old(copy)
        prune_runs(copy, before=LATER, dry_run=False)
        for table in ("runs", "metrics", "predictions"):
            assert run_ids(copy, table) == run_ids(end, table), (step, table)
    assert step > 4


@pytest.mark.parametrize("is_old", [False, True])
def test_rows_of_a_run_that_is_recorded_meanwhile_stay(
    gallery: EncodedDataset, root: Path, monkeypatch: pytest.MonkeyPatch, *, is_old: bool
) -> None:
    """Its few-shot split is that of runs that go; the file of an equal split is not written again."""
    before = run_ids(root)
    train_methods(gallery, methods=("nearest-mean",), shots=(1,), seeds=(1, 2))
    new = run_ids(root) - before
    own = splits(root, f"runs WHERE run_id IN {tuple(new)}")
    assert own <= splits(root, "runs WHERE method = 'gda'")
    if is_old:
        for path in (root / "runs" / "splits").iterdir():
            os.utime(path, (0, 0))
    real, n_read = prune.read_rows, 0

    def without_new_at_first(*args: Any, **kwargs: Any) -> pa.Table:
        nonlocal n_read
        n_read += 1
        table = real(*args, **kwargs)
        if n_read > 1:
            return table
        return table.filter([each not in new for each in table["run_id"].to_pylist()])

    monkeypatch.setattr(prune, "read_rows", without_new_at_first)
    assert prune_runs(root, before=LATER, dry_run=False).n_runs == 4
    for table in ("runs", "metrics", "predictions"):
        assert new <= run_ids(root, table)
    assert own <= stored_splits(root)


def test_a_run_stays_that_only_a_refusal_cites(root: Path, datasets: SyntheticDatasets) -> None:
    refused = datasets.retrain(datasets.make_dataset(), WORTHLESS).record
    assert refused.decision == "refused"
    done = prune_runs(root, before=LATER, dry_run=False)
    assert done.n_cited == 1
    assert run_ids(root) == run_ids(root, "metrics") == {refused.run_id}


def test_room_is_freed_in_an_object_store_as_well(object_root: ObjectPath) -> None:
    datasets = SyntheticDatasets(object_root)  # type: ignore[arg-type]  # any place does
    encoded = datasets.make_dataset()
    datasets.retrain(encoded, GOOD)
    done = prune_runs(object_root, before=LATER, dry_run=False)
    assert (done.n_runs, done.n_cited) == (4, 1)
    assert query(object_root, "SELECT count(*) AS n FROM runs")["n"].to_pylist() == [1]
    dropped = drop_features(object_root, dataset="gallery", dry_run=False)
    (rows,) = dropped.removed
    assert rows.n_rows + dropped.n_images_kept == len(encoded.dataset.index)
    usage = {each.what: each.size_bytes for each in disk_usage(object_root)}
    assert set(usage) == {"features", "datasets", "runs", "champions"}
    assert all(finding.problem is None for finding in inspect_store(object_root, deep=True))
