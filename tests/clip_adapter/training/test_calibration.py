"""The fitted temperature, against a dense search and what is known of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from scipy.special import softmax

from clip_adapter.errors import DataError
from clip_adapter.training import evaluate, fit_temperature, nll

Scores = Float[np.ndarray, "n c"]
Labels = Int[np.ndarray, " n"]


def sampled(seed: int, *, n_images: int, scale: float = 2.0) -> tuple[Scores, Labels]:
    """Logits, and labels drawn from the very probabilities that they stand for."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(scale=scale, size=(n_images, 4))
    labels = [rng.choice(4, p=row) for row in softmax(scores, axis=1)]
    return scores, np.array(labels)


def test_logits_that_are_five_times_too_sure_get_temperature_five() -> None:
    scores, labels = sampled(0, n_images=20_000)
    # Estimated from 20,000 drawn labels, with a standard error of about 1 %.
    assert fit_temperature(5 * scores, labels) == pytest.approx(5.0, rel=0.05)
    assert fit_temperature(scores, labels) == pytest.approx(1.0, rel=0.05)


def test_calibrated_logits_are_better_calibrated_on_images_that_did_not_fit_them() -> None:
    scores, labels = sampled(1, n_images=2_000)
    others, other_labels = sampled(2, n_images=2_000)
    temperature = fit_temperature(5 * scores, labels)
    before, after = (evaluate(5 * others / t, other_labels) for t in (1.0, temperature))
    assert after["ece"] < before["ece"] / 2
    assert after["nll"] < before["nll"]
    assert after["accuracy"] == before["accuracy"]


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40), st.sampled_from([0.3, 1.0, 8.0]))
def test_no_temperature_of_a_dense_search_is_better(seed: int, n_images: int, scale: float) -> None:
    scores, labels = sampled(seed, n_images=n_images)
    found = nll(scale * scores / fit_temperature(scale * scores, labels), labels)
    dense = min(nll(scale * scores / t, labels) for t in np.geomspace(0.0501, 19.99, 300))
    # The search ends within 1e-5 in log T. At a peak that costs nothing; at a bound, where the
    # likelihood of few images may still rise, its slope (in nats) times 1e-5.
    assert found <= dense + 1e-4


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 40))
def test_the_images_that_fit_are_never_made_less_likely(seed: int, n_images: int) -> None:
    scores, labels = sampled(seed, n_images=n_images)
    assert nll(scores / fit_temperature(scores, labels), labels) <= nll(scores, labels)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.5, 2.0))
def test_logits_times_a_number_have_a_temperature_times_that_number(
    seed: int, factor: float
) -> None:
    scores, labels = sampled(seed, n_images=200)  # enough for an optimum between the bounds
    # Both searches end within 1e-5 in log T.
    expected = factor * fit_temperature(scores, labels)
    assert fit_temperature(factor * scores, labels) == pytest.approx(expected, rel=1e-4)


def test_images_that_are_all_right_end_at_the_bound_and_not_at_zero() -> None:
    # Below 0.06 the probability is 1 to the last digit, and no temperature better than another.
    assert 0.05 <= fit_temperature(np.array([[2.0, 0.0]]), np.array([0])) < 0.06
    assert fit_temperature(np.array([[2.0, 0.0]]), np.array([1])) == pytest.approx(1000.0, rel=1e-3)


def test_where_nothing_is_gained_the_temperature_is_one() -> None:
    assert fit_temperature(np.zeros((5, 3)), np.zeros(5, dtype=np.int64)) == 1.0
    assert fit_temperature(np.full((5, 1), 3.0), np.zeros(5, dtype=np.int64)) == 1.0


def test_logits_that_are_not_finite_have_no_temperature() -> None:
    with pytest.raises(DataError, match="NaN"):
        fit_temperature(np.array([[np.nan, 1.0]]), np.array([0]))
