"""The promotion policy, on numbers alone."""

import numpy as np
import pytest

from clip_adapter.runs import Decision, LabelDrift, PairedDifference, decide, paired_difference


def pair(*, wins: int, losses: int, both: int = 100) -> PairedDifference:
    """One image a column: the candidate alone right, the champion alone, both."""
    candidate = np.repeat([True, False, True], [wins, losses, both])
    champion = np.repeat([False, True, True], [wins, losses, both])
    return paired_difference(candidate[None], champion[None])


def decision_on(
    paired: PairedDifference | None, drift: LabelDrift | None = None, *, limit: float = 0.05
) -> Decision:
    n_images = paired.n_images if paired else 29
    return decide(
        paired,
        drift or LabelDrift(),
        baseline="the champion",
        n_images=n_images,
        max_relabelled_fraction=limit,
    )


DRIFT = LabelDrift(n_common=200, n_relabelled=11, example="'a.jpg', which was 'cat' and is 'dog'")


def test_what_is_proven_better_is_promoted_with_its_numbers() -> None:
    found = decision_on(pair(wins=20, losses=2))
    assert (found.outcome, found.is_regression) == ("promoted", False)
    assert "98.4% of 122 images right, the champion 83.6%" in found.reason
    assert "difference +14.8 points" in found.reason


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (9, 4), (4, 9)])
def test_what_is_not_proven_either_way_is_refused_without_alarm(wins: int, losses: int) -> None:
    found = decision_on(pair(wins=wins, losses=losses))
    assert (found.outcome, found.is_regression) == ("refused", False)
    assert found.reason.startswith("not proven better: ")


def test_what_is_proven_worse_is_refused_and_a_regression() -> None:
    found = decision_on(pair(wins=2, losses=20))
    assert (found.outcome, found.is_regression) == ("refused", True)
    assert found.reason.startswith("proven worse: ")


def test_five_wins_to_none_prove_nothing() -> None:
    """McNemar's exact test says 0.06, and the interval holds 0."""
    paired = pair(wins=5, losses=0)
    assert paired.p_value == pytest.approx(0.0625)
    assert paired.low < 0
    assert decision_on(paired).outcome == "refused"
    assert not decision_on(pair(wins=0, losses=5)).is_regression


def test_six_wins_to_none_are_proven_better() -> None:
    paired = pair(wins=6, losses=0)
    assert paired.low > 0
    assert decision_on(paired).outcome == "promoted"


def test_too_few_images_prove_nothing() -> None:
    found = decision_on(None)
    assert (found.outcome, found.is_regression) == ("refused", False)
    assert "29 images" in found.reason
    assert "30 or more" in found.reason


@pytest.mark.parametrize("paired", [pair(wins=20, losses=2), None], ids=["better", "too few"])
def test_labels_that_changed_are_refused_whatever_the_images_say(
    paired: PairedDifference | None,
) -> None:
    found = decision_on(paired, DRIFT)
    assert (found.outcome, found.is_regression) == ("refused", True)
    assert "11 of 200 images (5.5%" in found.reason
    assert "'a.jpg', which was 'cat' and is 'dog'" in found.reason
    assert "--max-relabelled-fraction 1" in found.reason


def test_a_few_corrected_labels_are_no_obstacle() -> None:
    few = LabelDrift(n_common=200, n_relabelled=10, example="'a.jpg'")
    assert decision_on(pair(wins=20, losses=2), few).outcome == "promoted"


@pytest.mark.parametrize("drift", [DRIFT, LabelDrift(unknown="no index")])
def test_changed_labels_can_be_accepted_on_purpose(drift: LabelDrift) -> None:
    assert decision_on(pair(wins=20, losses=2), drift, limit=1).outcome == "promoted"


def test_labels_that_cannot_be_compared_are_refused_with_the_reason() -> None:
    found = decision_on(pair(wins=20, losses=2), LabelDrift(unknown="no index 'abc'"))
    assert (found.outcome, found.is_regression) == ("refused", False)
    assert "no index 'abc'" in found.reason
