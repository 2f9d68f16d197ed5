"""Back to an earlier champion."""

from collections.abc import Callable
from pathlib import Path

import pytest
from champions import current_champion, damage, id_of

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import (
    DamagedChampionError,
    PromotionRecord,
    PromotionStore,
    RunStoreError,
    roll_back,
    rolled_back,
)

Decision = Callable[..., PromotionRecord]


def test_what_was_rolled_back_does_not_return_by_damage(root: Path, promote: Decision) -> None:
    promote(1)
    second = promote(2)
    promote(3)
    assert roll_back(PromotionStore(root), "digits").restores == id_of(2)
    damage(root, second)
    assert current_champion(root, []) == id_of(1)


def test_a_roll_back_is_no_decision_on_a_retraining(root: Path, promote: Decision) -> None:
    first = promote(1)
    promote(2)
    roll_back(PromotionStore(root), "digits")
    assert PromotionStore(root).decided("digits", "retraining-1") == first


def test_a_roll_back_makes_the_promotion_before_current_and_removes_nothing(
    root: Path, promote: Decision
) -> None:
    promote(1)
    promote(2)
    promote(3, decision="refused")
    record = roll_back(PromotionStore(root), "digits")
    assert (record.sequence, record.decision, record.champion_before) == (
        4,
        "rolled back",
        id_of(2),
    )
    assert current_champion(root) == id_of(1)
    assert len(PromotionStore(root).history("digits")) == 4


def test_two_roll_backs_go_back_two_promotions(root: Path, promote: Decision) -> None:
    for number in (1, 2, 3):
        promote(number)
    store = PromotionStore(root)
    roll_back(store, "digits")
    roll_back(store, "digits")
    assert current_champion(root) == id_of(1)


def test_a_roll_back_can_name_any_promotion(root: Path, promote: Decision) -> None:
    promote(1)
    promote(2)
    promote(3)
    store = PromotionStore(root)
    roll_back(store, "digits", to=id_of(1))
    assert current_champion(root) == id_of(1)
    roll_back(store, "digits", to=id_of(3))
    assert current_champion(root) == id_of(3)


def test_from_the_first_champion_there_is_no_way_back(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(RunStoreError, match="the first champion of 'digits'"):
        roll_back(PromotionStore(root), "digits")


def test_a_roll_back_to_the_current_champion_is_refused(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(RunStoreError, match="is current already"):
        roll_back(PromotionStore(root), "digits", to=id_of(1))


@pytest.mark.parametrize("name", ["f", f"{2:032x}", "0000"])
def test_a_roll_back_to_nowhere_is_refused(root: Path, promote: Decision, name: str) -> None:
    """An unknown id, that of a refused candidate, and the first digits of two."""
    promote(1)
    promote(2, decision="refused")
    promote(3)
    with pytest.raises(UnknownNameError, match="unknown promotion"):
        roll_back(PromotionStore(root), "digits", to=name)


def test_a_roll_back_to_a_damaged_classifier_is_refused(root: Path, promote: Decision) -> None:
    damage(root, promote(1))
    promote(2)
    with pytest.raises(DamagedChampionError):
        roll_back(PromotionStore(root), "digits")
    assert len(PromotionStore(root).history("digits")) == 2


def test_a_misspelt_dataset_suggests_the_nearest(root: Path, promote: Decision) -> None:
    promote(1)
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        roll_back(PromotionStore(root), "digit")


def test_a_dataset_that_nothing_was_promoted_on_has_no_champion(
    root: Path, promote: Decision
) -> None:
    promote(1, decision="refused")
    (root / "datasets" / "eurosat").mkdir(parents=True)
    for dataset in ("digits", "eurosat"):
        with pytest.raises(RunStoreError, match=f"'{dataset}' has no champion"):
            roll_back(PromotionStore(root), dataset)


def test_a_rollback_undoes_what_came_after_the_promotion_that_it_restores(
    root: Path, promote: Decision
) -> None:
    for number in (1, 2, 3):
        promote(number)
    store = PromotionStore(root)
    record = roll_back(store, "digits", to=id_of(1))
    assert rolled_back(store.history("digits"), record) == {id_of(2), id_of(3)}
