"""Old runs go; those that a champion or the last request rests on stay, and no run is left in part."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from interruptions import KilledError, interrupt_at
from states import damaged_files
from synthetic_datasets import CLASSES, GOOD, SyntheticDatasets

from clip_adapter import train
from clip_adapter.pipeline import prune
from clip_adapter.pipeline.disk_usage import disk_usage
from clip_adapter.pipeline.drop import drop_features
from clip_adapter.pipeline.prune import PrunedRuns, prune_runs
from clip_adapter.runs import PromotionStore, query, roll_back
from feature_cache import ObjectPath, inspect_store

LATER = datetime.now(UTC) + timedelta(days=1)


def run_ids(root: Path, table: str = "runs") -> set[str]:
    found = query(root, f"SELECT DISTINCT run_id FROM {table}")  # of this file
    return set(found["run_id"].to_pylist())


def cited(root: Path) -> set[str]:
    return {record.run_id for record in PromotionStore(root).records()}


@pytest.mark.usefixtures("gallery")
def test_the_runs_of_a_champion_stay_with_everything_of_theirs(root: Path) -> None:
    before = {table: run_ids(root, table) for table in ("runs", "metrics", "predictions")}
    assert len(before["runs"]) == 5
    done = prune_runs(root, before=LATER, dry_run=False)
    assert (done.n_runs, done.n_cited, done.n_current) == (4, 1, 0)
    for table, ids in before.items():
        assert run_ids(root, table) == ids & cited(root)
    splits = query(root, "SELECT DISTINCT split_fingerprint AS one FROM splits")["one"].to_pylist()
    assert splits == query(root, "SELECT split_fingerprint AS one FROM runs")["one"].to_pylist()
    assert damaged_files(root) == []


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
    step, is_done = 0, False
    while not is_done:
        copy = root.parent / f"copy-{step}"
        shutil.copytree(root, copy)
        with pytest.MonkeyPatch.context() as patch, suppress(KilledError):
            interrupt_at(patch, step)
            prune_runs(copy, before=LATER, dry_run=False)
            is_done = True
        assert damaged_files(copy) == []
        assert run_ids(copy) <= run_ids(copy, "metrics")  # no run without its numbers
        for path in copy.rglob("*.parquet"):
            os.utime(path, (0, 0))
        prune_runs(copy, before=LATER, dry_run=False)
        for table in ("runs", "metrics", "predictions"):
            assert run_ids(copy, table) == run_ids(end, table), (step, table)
        step += 1
    assert step > 5


@pytest.mark.usefixtures("gallery")
def test_rows_of_a_run_that_is_about_to_be_recorded_stay(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training writes them before the row of the run."""
    real = prune.read_rows
    known = real(root, "runs", "run_id", schema=prune.RUNS)["run_id"].to_pylist()
    unseen = (run_ids(root) - cited(root)).pop()
    assert unseen in known

    def without_one(*args: object, **kwargs: object) -> object:
        table = real(*args, **kwargs)  # type: ignore[arg-type]  # as they were given
        return table.filter([each != unseen for each in table["run_id"].to_pylist()])

    monkeypatch.setattr(prune, "read_rows", without_one)
    prune_runs(root, before=LATER, dry_run=False)
    assert unseen in run_ids(root, "metrics") & run_ids(root, "predictions")


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
