"""What is current follows from what was asked for last: images that come back bring their numbers."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_datasets import CLASSES, GOOD, Sweep, SyntheticDatasets

from clip_adapter.cli.cache.exporting import export
from clip_adapter.cli.cache.indexed import latest_index
from clip_adapter.datasets import DatasetError
from clip_adapter.pipeline import run_records
from clip_adapter.pipeline.train import Training, train
from clip_adapter.runs import (
    Champion,
    PromotionStore,
    RequestStore,
    current_index,
    query,
    roll_back,
)

PutPhotos = Callable[..., Path]
Train = Callable[[], Training]
VIEWS = {
    "leaderboard": "SELECT dataset, method, shots, accuracy_mean, last_run FROM leaderboard ORDER BY ALL",
    "per_class": "SELECT dataset, method, class_name, n, recall FROM per_class ORDER BY ALL",
}


@pytest.fixture(name="train_photos")
def _train_photos(photos: Path, root: Path, tiny_model: str) -> Train:
    """Train two methods on the photos as they are."""
    asked: dict[str, Any] = {"methods": ["zero-shot", "gda"], "shots": [2], "seeds": [1]}
    return lambda: train(f"imagefolder:{photos}", model=tiny_model, root=root, **asked)


def shown(root: Path) -> dict[str, Any]:
    return {name: query(root, question).to_pylist() for name, question in VIEWS.items()}


def of_dataset(rows: list[dict[str, Any]], dataset: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["dataset"] == dataset]


@pytest.mark.parametrize("clock", ["forward", "back"])
def test_the_tables_and_the_export_follow_images_that_go_and_come_back(
    train_photos: Train, photos: Path, root: Path, monkeypatch: pytest.MonkeyPatch, clock: str
) -> None:
    if clock == "back":
        turn_back_the_clock(monkeypatch)
    first = train_photos()
    name, state_a = first.encoded.dataset.name, first.encoded.dataset.index_fingerprint
    in_a = shown(root)
    shutil.move(photos / "green", photos.parent / "green")
    state_b = train_photos().encoded.dataset.index_fingerprint
    assert (latest_index(root, name).fingerprint, state_a != state_b) == (state_b, True)
    assert shown(root) != in_a
    if clock == "back":
        make_files_old(root / "datasets")

    shutil.move(photos.parent / "green", photos / "green")
    again = train_photos()
    assert (again.encoded.dataset.index_fingerprint, again.is_up_to_date) == (state_a, True)
    assert shown(root) == in_a
    assert current_index(root, name) == latest_index(root, name).fingerprint == state_a
    assert [each.sequence for each in RequestStore(root).history(name)] == [1, 2, 3]


def exported(root: Path, dataset: str, to: Path) -> list[str]:
    """The paths of the images that `cache export` writes for a dataset."""
    export(dataset, to=to, root=str(root), overwrite=True)
    with np.load(to) as features:
        return sorted(features["paths"].tolist())


@pytest.fixture(name="train_state")
def _train_state(
    photos: Path, root: Path, tiny_model: str, put_photos: PutPhotos
) -> Callable[..., Training]:
    """Put the images of state A or B in the folder, which share none, and train on them."""

    def train_state(state: str, *, name: str | None = None) -> Training:
        first = {"A": 0, "B": 500}[state]
        for colour in ("red", "green", "blue"):
            shutil.rmtree(photos / colour, ignore_errors=True)
            put_photos(photos, colour, range(first, first + (30 if state == "A" else 24)))
        asked: dict[str, Any] = {"methods": ["zero-shot", "gda"], "shots": [2], "seeds": [1]}
        return train(f"imagefolder:{photos}", model=tiny_model, root=root, name=name, **asked)

    return train_state


def test_other_images_in_the_folder_of_a_dataset_must_be_named(
    train_state: Callable[..., Training], root: Path, tmp_path: Path
) -> None:
    first = train_state("A")
    in_a, of_a = shown(root), exported(root, "photos", tmp_path / "a.npz")
    with pytest.raises(DatasetError, match="only 0 of its 72 images are among the 90"):
        train_state("B")
    assert shown(root) == in_a
    assert train_state("B", name="others").encoded.dataset.name == "others"
    again = train_state("A")
    assert again.is_up_to_date
    assert again.encoded.dataset.index_fingerprint == first.encoded.dataset.index_fingerprint
    assert {name: of_dataset(rows, "photos") for name, rows in shown(root).items()} == in_a
    assert exported(root, "photos", tmp_path / "again.npz") == of_a


def test_under_one_name_the_first_images_bring_back_their_numbers(
    train_state: Callable[..., Training], root: Path, tmp_path: Path
) -> None:
    train_state("A", name="mine")
    in_a, of_a = shown(root), exported(root, "mine", tmp_path / "a.npz")
    train_state("B", name="mine")
    assert shown(root) != in_a
    assert exported(root, "mine", tmp_path / "b.npz") != of_a
    assert train_state("A", name="mine").is_up_to_date
    assert shown(root) == in_a
    assert exported(root, "mine", tmp_path / "again.npz") == of_a


def test_the_same_request_again_is_recorded_once(train_photos: Train, root: Path) -> None:
    name = train_photos().encoded.dataset.name
    train_photos()
    (record,) = RequestStore(root).history(name)
    assert record.command == "train"
    assert len(record.run_fingerprints) == 2


def test_a_run_that_is_trained_again_counts_in_place_of_the_earlier_one(
    photos: Path, root: Path, tiny_model: str
) -> None:
    asked: dict[str, Any] = {"methods": ["gda"], "shots": [1], "seeds": [1, 2, 3]}
    made = []
    for retrain in (False, True, True, True):
        done = train(f"imagefolder:{photos}", model=tiny_model, root=root, retrain=retrain, **asked)
        shown = query(root, "SELECT run_id FROM current_runs ORDER BY seed").column(0).to_pylist()
        assert shown == list(done.runs.run_ids) == done.to_arrow()["run_id"].to_pylist()
        made += shown
    assert len(set(made)) == 12


def test_a_champion_of_fewer_classes_meets_the_class_that_comes_back(
    datasets: SyntheticDatasets, current_champion: Callable[[], Champion | None]
) -> None:
    five = (*CLASSES, "owl", "fox")
    # Stopped early, so that the next one is proven better.
    weak: Sweep = {
        "methods": ("linear-probe",),
        "shots": (1,),
        "seeds": (1,),
        "settings": {"linear-probe": {"max_iterations": 3}},
    }
    whole = datasets.make_dataset(five)
    first = datasets.retrain(whole, weak).record
    second = datasets.retrain(datasets.make_dataset(five[:-1]), GOOD).record
    assert (first.decision, second.decision) == ("promoted", "promoted")

    back = datasets.retrain(whole, weak)
    assert back.is_new
    assert back.record.champion_before == second.promotion_id
    assert "it does not know 'fox'" in back.record.reason
    assert back.record.decision == "promoted"
    found = current_champion()
    assert found is not None
    assert found.record.promotion_id == back.record.promotion_id
    assert not datasets.retrain(whole, weak).is_new


def test_a_rollback_between_two_others_does_not_revive_an_earlier_promotion(
    datasets: SyntheticDatasets, root: Path
) -> None:
    """Only the promotion that was rolled back is not made again."""
    narrow, wide = datasets.make_dataset(), datasets.make_dataset((*CLASSES, "owl"))
    assert datasets.retrain(narrow, GOOD).record.decision == "promoted"
    second = datasets.retrain(wide, GOOD).record
    third = datasets.retrain(datasets.make_dataset((*CLASSES, "owl", "fox")), GOOD).record
    assert (second.decision, third.decision) == ("promoted", "promoted")
    roll_back(PromotionStore(root), "gallery")

    back = datasets.retrain(narrow, GOOD)
    assert back.is_new
    assert back.record.champion_before == second.promotion_id


def turn_back_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sweep starts a day before the one before it."""
    real, days = run_records.datetime, iter(range(1, 100))

    class Backwards(real):  # type: ignore[valid-type,misc]  # a clock
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return real(2026, 6, 30, tzinfo=tz).replace(day=30 - next(days))

    monkeypatch.setattr(run_records, "datetime", Backwards)


def make_files_old(folder: Path) -> None:
    """The files of the earlier state look newer than those that are written later."""
    for number, path in enumerate(sorted(folder.rglob("*.parquet"))):
        os.utime(path, (2_000_000_000 - number, 2_000_000_000 - number))
