"""Old runs go; those that a champion or the last request rests on stay, and no run is left in part."""

import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from interruptions import KilledError, interrupt_at
from states import damaged_files
from synthetic_datasets import GOOD, WORTHLESS, SyntheticDatasets

from clip_adapter import train
from clip_adapter.pipeline import prune
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.prune import PrunedRuns, prune_runs
from clip_adapter.runs import PromotionStore, query

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


def test_every_rollback_works_afterwards(
    root: Path, datasets: SyntheticDatasets, gallery: EncodedDataset
) -> None:
    store = PromotionStore(root)
    first = store.history("gallery")[-1]
    better = datasets.make_dataset(sizes={"train": 12, "val": 60, "test": 10})
    datasets.retrain(better, WORTHLESS)
    prune_runs(root, before=LATER, dry_run=False)
    assert cited(root) == run_ids(root)
    champion = store.champion("gallery", on_corruption=lambda _: None)
    assert champion is not None
    assert champion.record.promotion == first.promotion_id
    # and what was pruned is trained again where it is asked for, and compared with the champion
    assert datasets.retrain(gallery, GOOD | {"seeds": (3,)}).record.champion_before is not None


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
