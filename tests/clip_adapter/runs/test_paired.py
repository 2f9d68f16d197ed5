"""Paired differences, against scipy and what is known of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Bool
from scipy.stats import binomtest, ttest_1samp

from clip_adapter.runs import adjust_p_values, paired_difference

Correct = Bool[np.ndarray, "s n"]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Correct, Correct]:
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 40)))
    return draw(arrays(np.bool_, shape)), draw(arrays(np.bool_, shape))


def right(share: float, *, n_images: int = 1_000, seed: int = 0) -> Correct:
    return np.random.default_rng(seed).random((1, n_images)) < share


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_with_one_seed_the_p_value_is_mcnemars_exact_one(wins: int, losses: int, ties: int) -> None:
    n_images = max(1, wins + losses + ties)
    a, b = np.zeros((2, 1, n_images), dtype=np.bool_)
    a[0, :wins], b[0, wins : wins + losses] = True, True
    found = paired_difference(a, b)
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert (found.wins, found.losses, found.ties) == (wins, losses, n_images - wins - losses)
    # Sums of binomial probabilities in double precision, in another order.
    assert found.p_value == pytest.approx(expected, rel=1e-9)


@given(pairs())
def test_the_other_way_round_everything_is_mirrored(pair: tuple[Correct, Correct]) -> None:
    a, b = pair
    found, mirrored = paired_difference(a, b), paired_difference(b, a)
    assert mirrored.difference == pytest.approx(-found.difference, abs=1e-12)
    assert (mirrored.wins, mirrored.losses) == (found.losses, found.wins)
    assert mirrored.p_value == pytest.approx(found.p_value, rel=1e-6)
    assert mirrored.low == pytest.approx(-found.high, abs=1e-9)


@given(pairs())
def test_the_interval_holds_the_difference(pair: tuple[Correct, Correct]) -> None:
    found = paired_difference(*pair)
    assert found.low - 1e-12 <= found.difference <= found.high + 1e-12


@given(pairs())
def test_the_order_of_images_and_seeds_changes_nothing(pair: tuple[Correct, Correct]) -> None:
    a, b = pair
    found, turned = paired_difference(a, b), paired_difference(a[::-1, ::-1], b[::-1, ::-1])
    assert turned.difference == pytest.approx(found.difference, abs=1e-12)
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high), abs=1e-9)
    assert turned.p_value == pytest.approx(found.p_value, rel=1e-6)
    assert turned.wins == found.wins


@given(pairs())
def test_nothing_differs_from_itself(pair: tuple[Correct, Correct]) -> None:
    found = paired_difference(pair[0], pair[0])
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert found.verdict == "no difference shown"


@given(pairs())
def test_the_interval_leaves_out_zero_exactly_where_p_is_below_the_level(
    pair: tuple[Correct, Correct],
) -> None:
    found = paired_difference(*pair)
    assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)
    assert (found.verdict != "no difference shown") == (found.p_value < 0.05)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 500))
def test_the_interval_of_one_seed_leaves_out_zero_exactly_where_mcnemar_does(
    wins: int, losses: int, ties: int
) -> None:
    a, b = np.zeros((2, 1, max(1, wins + losses + ties)), dtype=np.bool_)
    a[0, :wins], b[0, wins : wins + losses] = True, True
    found = paired_difference(a, b)
    assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


@given(pairs())
def test_equal_answers_of_all_seeds_are_one_seed(pair: tuple[Correct, Correct]) -> None:
    """Saying the same thing again makes nothing surer."""
    a, b = (side[:1] for side in pair)
    once, twice = paired_difference(a, b), paired_difference(np.tile(a, (2, 1)), np.tile(b, (2, 1)))
    assert (twice.p_value, twice.low, twice.high) == (once.p_value, once.low, once.high)


def test_where_draws_matter_most_the_test_is_students_over_seeds() -> None:
    """Half of the images depend on the draw alone, and all of one draw alike."""
    shares = (0.52, 0.58, 0.61, 0.55)
    a = np.stack([np.arange(100_000) < share * 100_000 for share in shares])
    b = np.tile(np.arange(100_000) < 50_000, (4, 1))
    found = paired_difference(a, b)
    student = ttest_1samp([share - 0.5 for share in shares], 0)
    assert found.p_value == pytest.approx(student.pvalue, rel=0.02)
    interval = student.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=0.02)


def test_where_draws_do_not_matter_the_test_is_students_over_images() -> None:
    """Both differ on the same images at every seed, but for one image of one seed."""
    a, b = (np.tile(right(share, seed=seed), (10, 1)) for share, seed in ((0.7, 0), (0.6, 1)))
    a[0, 0] = not a[0, 0]
    found = paired_difference(a, b)
    student = ttest_1samp((a.mean(axis=0) - b.mean(axis=0)), 0)
    assert found.p_value == pytest.approx(student.pvalue, rel=0.01)
    interval = student.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=0.01)


def test_more_draws_of_the_same_kind_show_more() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.random((10, 1_000)) < share for share in (0.72, 0.68))
    three, ten = paired_difference(a[:3], b[:3]), paired_difference(a, b)
    assert ten.p_value < three.p_value
    assert ten.high - ten.low < three.high - three.low


@pytest.mark.parametrize("both", [0.0, 0.9])
def test_the_interval_of_one_seed_covers_the_truth_nineteen_times_of_twenty(both: float) -> None:
    """Two classifiers that are right on 70 and 60 % of the images that not both are right on."""
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1_000):
        easy = rng.random((1, 300)) < both
        a, b = (easy | (rng.random((1, 300)) < share) for share in (0.7, 0.6))
        found = paired_difference(a, b)
        covered.append(found.low <= (1 - both) * 0.1 <= found.high)
    # 0.95 with a standard error of 0.007; exact intervals are a little wide.
    assert 0.93 < np.mean(covered) < 0.995


def test_the_interval_of_several_seeds_covers_the_truth_nineteen_times_of_twenty() -> None:
    rng = np.random.default_rng(2)
    covered = []
    for _ in range(1_000):
        shares = rng.normal((0.7, 0.6), 0.02, size=(4, 2))
        a, b = (rng.random((4, 300)) < shares[:, side, None] for side in (0, 1))
        found = paired_difference(a, b)
        covered.append(found.low <= 0.1 <= found.high)
    # No less than 0.95, with a standard error of 0.007.
    assert 0.93 < np.mean(covered) < 0.995


def test_a_seed_that_contradicts_the_others_leaves_no_claim() -> None:
    better, worse = np.ones((1, 100), dtype=np.bool_), np.zeros((1, 100), dtype=np.bool_)
    even = np.arange(100)[None] % 2 == 0
    assert paired_difference(better, worse).verdict == "ahead"
    assert paired_difference(worse, better).verdict == "behind"
    most = paired_difference(np.vstack([better, better, worse]), np.vstack([worse, worse, even]))
    assert most.n_seeds_ahead == 2
    assert most.verdict == "no difference shown"
    assert paired_difference(even, even[:, ::-1]).verdict == "no difference shown"


def test_a_seed_at_which_both_are_equally_good_is_not_ahead() -> None:
    better, worse = np.ones((1, 100), dtype=np.bool_), np.zeros((1, 100), dtype=np.bool_)
    found = paired_difference(np.vstack([better, worse]), np.vstack([worse, worse]))
    assert found.n_seeds_ahead == 1
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("n_seeds", "same", "about"),
    [(1, False, "these two classifiers"), (3, False, "the methods"), (3, True, "these training")],
)
def test_a_claim_says_what_it_is_about(*, n_seeds: int, same: bool, about: str) -> None:
    a, b = (np.tile(right(share), (n_seeds, 1)) for share in (0.7, 0.6))
    assert paired_difference(a, b, same_training_images=same).scope.startswith(about)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_correction_rejects_the_smallest_against_the_whole_table(values: list[float]) -> None:
    plain = paired_difference(right(0.7), right(0.6, seed=1))
    shown = [replace(plain, p_value=value, adjusted_p_value=value) for value in values]
    adjusted = [one.adjusted_p_value for one in adjust_p_values(shown)]
    # The definition, on values in their order.
    order = np.argsort(values, kind="stable")
    steps = [(len(values) - rank) * values[place] for rank, place in enumerate(order)]
    expected = np.minimum(1, np.maximum.accumulate(steps))
    assert [adjusted[place] for place in order] == pytest.approx(list(expected))


def test_a_claim_of_its_own_may_be_none_in_a_table() -> None:
    a, b = np.zeros((2, 1, 500), dtype=np.bool_)
    a[0, :14], b[0, 14:18] = True, True
    found = paired_difference(a, b)
    assert 0.01 < found.p_value < 0.05
    alone, *_ = adjust_p_values([found])
    crowded, *_ = adjust_p_values([found] * 20)
    assert (alone.verdict, crowded.verdict) == ("ahead", "no difference shown")
    assert (crowded.low, crowded.p_value) == (found.low, found.p_value)
