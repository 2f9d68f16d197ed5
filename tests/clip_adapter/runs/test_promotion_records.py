from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs import PromotionRecord, RunStoreError

Decision = Callable[..., PromotionRecord]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"promotion_id": "7"}, "promotion_id is '7'"),
        ({"run_id": "A" * 32}, "run_id is"),
        ({"champion_before": "x"}, "champion_before is 'x'"),
        ({"classifier_sha256": "abc"}, "classifier_sha256 is 'abc'"),
        ({"sequence": 0}, "sequence is 0, expected 1 or more"),
        ({"n_images": -1}, "n_images is -1"),
        ({"low": None}, "expected all of them or none"),
        ({"low": 0.2, "high": 0.1}, "low <= high"),
        ({"p_value": float("nan")}, "finite numbers"),
        ({"decided_at": datetime(2026, 1, 1)}, "in no timezone"),  # noqa: DTZ001  # that is the point
        ({"classifier_sha256": None}, "a classifier with every decision but a refusal"),
        ({"decision": "refused", "classifier_sha256": "0" * 64}, "a classifier with every"),
        ({"decision": "rolled back"}, "a promotion to restore with every roll back"),
        ({"restores": "0" * 32}, "a promotion to restore with every roll back"),
    ],
)
def test_a_decision_that_contradicts_itself_cannot_be_made(
    decision_of: Decision, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(RunStoreError, match=said):
        decision_of(1, **wrong)


def test_an_unknown_decision_is_refused_by_name(decision_of: Decision) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'promoted'"):
        decision_of(1, decision="promote")


def test_a_refusal_without_numbers_is_possible(decision_of: Decision) -> None:
    none = dict.fromkeys(("accuracy_challenger", "accuracy_champion", "low", "high", "p_value"))
    assert not decision_of(1, decision="refused", **none).sets_champion


def test_a_roll_back_stands_for_the_promotion_it_restores(decision_of: Decision) -> None:
    restored = f"{1:032x}"
    assert decision_of(3, decision="rolled back", restores=restored).promotion == restored
    assert decision_of(3).promotion == f"{3:032x}"
