"""A rollback holds: what was rolled back comes back on newer images alone, or when a user says so."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from synthetic_datasets import CLASSES, GOOD, SIZES, WORTHLESS, SyntheticDatasets

from clip_adapter.datasets import Split
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.runs import (
    Champion,
    PromotionRecord,
    PromotionStore,
    RunStoreError,
    roll_back,
    set_pinned,
)

CurrentChampion = Callable[[], Champion | None]
WIDE = (*CLASSES, "owl")
A_FEW: dict[Split, int] = {**SIZES, "train": SIZES["train"] + 1}
"""Four more images to train on, one a class, and none to compare on."""
MANY: dict[Split, int] = {**A_FEW, "val": SIZES["val"] + 20}
"""And eighty more to compare on, of which the challenger may be selected with some."""
MOST_SELECTING = 4
"""Validation images a class that a run is selected with."""


@pytest.fixture(name="first")
def _first(datasets: SyntheticDatasets, root: Path) -> PromotionRecord:
    """A champion that is worse than the next one, was rolled back to, and is pinned."""
    first = datasets.retrain(datasets.make_dataset(), GOOD | {"shots": (1,)}).record
    second = datasets.retrain(datasets.make_dataset(WIDE), GOOD).record
    assert (first.decision, second.decision) == ("promoted", "promoted")
    assert roll_back(PromotionStore(root), "gallery").pinned
    return first


@pytest.fixture(name="with_a_few")
def _with_a_few(datasets: SyntheticDatasets, first: PromotionRecord) -> EncodedDataset:
    assert first
    return datasets.make_dataset(WIDE, sizes=A_FEW)


def test_a_few_more_photos_undo_no_rollback(
    datasets: SyntheticDatasets,
    first: PromotionRecord,
    with_a_few: EncodedDataset,
    current_champion: CurrentChampion,
) -> None:
    promotion = datasets.retrain(with_a_few, GOOD)
    assert (promotion.record.decision, promotion.record.n_images) == ("refused", 0)
    assert "the champion is pinned, so that only images count that are newer than" in (
        promotion.record.reason
    )
    assert "clip-adapter champion gallery --unpin" in promotion.record.reason
    found = current_champion()
    assert found is not None
    assert (found.record.promotion, found.record.pinned) == (first.promotion_id, True)
    assert not datasets.retrain(with_a_few, GOOD).is_new


def test_who_is_better_on_newer_images_is_promoted_and_not_pinned(
    datasets: SyntheticDatasets, first: PromotionRecord, current_champion: CurrentChampion
) -> None:
    record = datasets.retrain(datasets.make_dataset(WIDE, sizes=MANY), GOOD).record
    assert record.decision == "promoted"
    assert 20 * len(WIDE) - len(WIDE) * MOST_SELECTING <= record.n_images <= 20 * len(WIDE)
    assert record.champion_before == first.promotion_id
    found = current_champion()
    assert found is not None
    assert (found.record.promotion_id, found.record.pinned) == (record.promotion_id, False)


def test_who_is_not_better_on_newer_images_is_refused(
    datasets: SyntheticDatasets, first: PromotionRecord, current_champion: CurrentChampion
) -> None:
    record = datasets.retrain(datasets.make_dataset(sizes=MANY), WORTHLESS).record
    assert record.decision == "refused"
    assert 20 * len(CLASSES) - len(WIDE) * MOST_SELECTING <= record.n_images <= 20 * len(CLASSES)
    assert record.reason.startswith("proven worse: ")
    found = current_champion()
    assert found is not None
    assert found.record.promotion == first.promotion_id


def test_unpinned_it_is_compared_on_all_images_again(
    datasets: SyntheticDatasets, with_a_few: EncodedDataset, root: Path
) -> None:
    assert datasets.retrain(with_a_few, GOOD).record.decision == "refused"
    unpinned = set_pinned(PromotionStore(root), "gallery", is_pinned=False)
    assert (unpinned.action, unpinned.pinned) == ("unpinned", False)
    again = datasets.retrain(with_a_few, GOOD)
    assert again.is_new
    assert again.record.decision == "promoted"
    assert again.record.n_images > 30
    assert "pinned" not in again.record.reason


def test_any_champion_can_be_pinned(datasets: SyntheticDatasets, root: Path) -> None:
    champion = datasets.retrain(datasets.make_dataset(), GOOD | {"shots": (1,)}).record
    pinned = set_pinned(PromotionStore(root), "gallery", is_pinned=True)
    assert (pinned.action, pinned.promotion) == ("pinned", champion.promotion_id)
    record = datasets.retrain(datasets.make_dataset(sizes=A_FEW), GOOD).record
    assert (record.decision, record.n_images, record.pinned) == ("refused", 0, True)
    with pytest.raises(RunStoreError, match="is pinned already"):
        set_pinned(PromotionStore(root), "gallery", is_pinned=True)


def test_the_same_classifier_again_is_said_to_have_been_rolled_back(
    datasets: SyntheticDatasets, first: PromotionRecord, root: Path
) -> None:
    """Two more seeds choose the same candidate, in a sweep on which nothing was decided."""
    assert first
    set_pinned(PromotionStore(root), "gallery", is_pinned=False)
    wide = datasets.make_dataset(WIDE)
    record = datasets.retrain(wide, GOOD | {"seeds": (1, 2, 3)}).record
    assert record.decision == "promoted"
    assert "this classifier was promoted as" in record.reason
    assert record.reason.endswith("and rolled back before")


def test_an_old_decision_is_no_news(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset()
    first = datasets.retrain(encoded, GOOD)
    assert first.summary.startswith("gda at 4 shots, seed 1: promoted, proven better")
    again = datasets.retrain(encoded, GOOD)
    assert again.summary.startswith("unchanged: gda at 4 shots, seed 1 is the champion")
    assert "proven better" not in again.summary
    wide = datasets.make_dataset(WIDE)
    second = datasets.retrain(wide, GOOD).record
    restored = roll_back(PromotionStore(root), "gallery")
    undone = datasets.retrain(wide, GOOD)
    assert not undone.is_new
    assert f"was promoted as {second.promotion_id[:8]} and rolled back" in undone.summary
    assert f"--to {second.promotion_id[:8]}" in undone.summary
    back = roll_back(PromotionStore(root), "gallery", to=second.promotion_id)
    assert back.champion_before == restored.promotion
    assert "which was rolled back itself" in back.reason


def test_a_rollback_of_an_earlier_version_is_not_pinned(
    datasets: SyntheticDatasets, root: Path
) -> None:
    datasets.retrain(datasets.make_dataset(), GOOD | {"shots": (1,)})
    datasets.retrain(datasets.make_dataset(WIDE), GOOD)
    store = PromotionStore(root)
    rolled = roll_back(store, "gallery")
    store.append(replace(rolled, promotion_id="f" * 32, sequence=rolled.sequence + 1, pinned=None))
    record = datasets.retrain(datasets.make_dataset(WIDE, sizes=A_FEW), GOOD).record
    assert (record.decision, record.pinned) == ("promoted", False)
