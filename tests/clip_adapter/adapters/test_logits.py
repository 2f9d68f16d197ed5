"""The classification rule: scaled cosine similarity."""

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clip_adapter.adapters import logits

# A cosine of 16 float32 products is off by a few times 6e-8; the scale makes that a hundred times
# more.
TOLERANCE = 1e-4
SCALE = 100.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_logits_are_the_scaled_cosines_of_an_independent_formula() -> None:
    features, prototypes = normal(5, 16), normal(3, 16, seed=1)
    f, w = features.double().numpy(), prototypes.double().numpy()
    lengths = np.linalg.norm(f, axis=1)[:, None] * np.linalg.norm(w, axis=1)
    expected = SCALE * (f @ w.T) / lengths
    np.testing.assert_allclose(logits(features, prototypes, SCALE), expected, atol=TOLERANCE)


@given(exponent=st.integers(-20, 20))
def test_scaling_features_by_a_power_of_two_changes_no_bit(exponent: int) -> None:
    features, prototypes = normal(5, 16), normal(3, 16, seed=1)
    scaled = logits(features * 2.0**exponent, prototypes, SCALE)
    assert torch.equal(scaled, logits(features, prototypes, SCALE))


# Beyond this range the square of a norm leaves float32, where no CLIP's features are.
@given(factor=st.floats(1e-6, 1e6))
def test_scaling_features_or_prototypes_by_a_positive_number_changes_no_logit(
    factor: float,
) -> None:
    features, prototypes = normal(5, 16), normal(3, 16, seed=1)
    expected = logits(features, prototypes, SCALE)
    for scaled in (
        logits(features * factor, prototypes, SCALE),
        logits(features, prototypes * factor, SCALE),
    ):
        torch.testing.assert_close(scaled, expected, atol=TOLERANCE, rtol=0.0)


@given(order=st.permutations(range(4)))
def test_permuting_classes_permutes_logits(order: list[int]) -> None:
    features, prototypes = normal(5, 16), normal(4, 16, seed=1)
    permuted = logits(features, prototypes[order], SCALE)
    expected = logits(features, prototypes, SCALE)[:, order]
    torch.testing.assert_close(permuted, expected, atol=TOLERANCE, rtol=0.0)


def test_a_stack_of_features_gives_the_logits_of_each_alone() -> None:
    features, prototypes = normal(2, 5, 16), normal(3, 16, seed=1)
    stacked = logits(features, prototypes, SCALE)
    for block, expected in zip(stacked, features, strict=True):
        alone = logits(expected, prototypes, SCALE)
        torch.testing.assert_close(block, alone, atol=TOLERANCE, rtol=0.0)


def test_a_feature_without_direction_gets_zeros_and_no_nan() -> None:
    assert torch.equal(logits(torch.zeros(1, 16), normal(3, 16), SCALE), torch.zeros(1, 3))


def test_shapes_are_checked_while_tests_run() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="prototypes"):
        logits(normal(2, 3), normal(4, 5), SCALE)
