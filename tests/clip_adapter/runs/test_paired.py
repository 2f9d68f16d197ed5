"""Paired differences, against scipy, a plain bootstrap and what is known of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Bool
from scipy.stats import binomtest, bootstrap

from clip_adapter.runs import paired_difference

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
    assert mirrored.p_value == found.p_value
    # Both intervals are drawn at random; an end moves by some of the steps that a mean of n
    # scores can take.
    step = 1 / a.shape[1]
    assert mirrored.low == pytest.approx(-found.high, abs=2 * step)


@given(pairs())
def test_the_interval_holds_the_difference(pair: tuple[Correct, Correct]) -> None:
    found = paired_difference(*pair)
    assert found.low - 1e-12 <= found.difference <= found.high + 1e-12


@given(pairs())
def test_the_order_of_images_and_seeds_changes_nothing(pair: tuple[Correct, Correct]) -> None:
    a, b = pair
    found, turned = paired_difference(a, b), paired_difference(a[::-1, ::-1], b[::-1, ::-1])
    assert turned.difference == pytest.approx(found.difference, abs=1e-12)
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high), abs=1e-12)
    assert (turned.wins, turned.p_value) == (found.wins, found.p_value)


@given(pairs())
def test_nothing_differs_from_itself(pair: tuple[Correct, Correct]) -> None:
    found = paired_difference(pair[0], pair[0])
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert found.verdict == "no difference shown"


@given(pairs())
def test_a_seed_that_comes_twice_changes_no_claim(pair: tuple[Correct, Correct]) -> None:
    """The images are what is independent: saying the same thing again makes nothing surer."""
    a, b = pair
    once, twice = paired_difference(a, b), paired_difference(np.tile(a, (2, 1)), np.tile(b, (2, 1)))
    assert twice.p_value == once.p_value
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-12)


def test_the_interval_is_the_one_of_drawing_images() -> None:
    a, b = right(0.7), right(0.6, seed=1)
    found = paired_difference(a, b)
    scores = a.astype(float) - b
    plain = bootstrap(scores, np.mean, n_resamples=10_000, method="percentile", rng=0)
    # Two bootstraps of 10,000 draws each: their 2.5 % quantiles differ by a few percent of the
    # standard error, which is 0.021.
    assert found.low == pytest.approx(plain.confidence_interval.low, abs=0.003)
    assert found.high == pytest.approx(plain.confidence_interval.high, abs=0.003)


def test_the_interval_covers_the_truth_nineteen_times_of_twenty() -> None:
    """Two classifiers that are right on 70 and 60 % of all images there are, a thousand tests."""
    differences = [
        paired_difference(
            right(0.7, n_images=300, seed=seed),
            right(0.6, n_images=300, seed=1_000 + seed),
            resamples=2_000,
        )
        for seed in range(1_000)
    ]
    covered = np.mean([one.low <= 0.1 <= one.high for one in differences])
    # 0.95 with a standard error of 0.007.
    assert 0.92 < covered < 0.98


def test_a_verdict_needs_every_seed_to_agree() -> None:
    better, worse = np.ones((1, 100), dtype=np.bool_), np.zeros((1, 100), dtype=np.bool_)
    even = np.arange(100)[None] % 2 == 0
    assert paired_difference(better, worse).verdict == "ahead"
    assert paired_difference(worse, better).verdict == "behind"
    most = paired_difference(np.vstack([better, better, worse]), np.vstack([worse, worse, even]))
    assert most.low > 0
    assert most.n_seeds_ahead == 2
    assert most.verdict == "seeds disagree"
    assert paired_difference(even, even[:, ::-1]).verdict == "no difference shown"


def test_a_seed_at_which_both_are_equally_good_is_not_ahead() -> None:
    better, worse = np.ones((1, 100), dtype=np.bool_), np.zeros((1, 100), dtype=np.bool_)
    found = paired_difference(np.vstack([better, worse]), np.vstack([worse, worse]))
    assert found.low > 0
    assert found.n_seeds_ahead == 1
    assert found.verdict == "seeds disagree"


def test_the_same_answers_always_give_the_same_interval() -> None:
    a, b = right(0.7), right(0.6, seed=1)
    assert paired_difference(a, b) == paired_difference(a, b)
