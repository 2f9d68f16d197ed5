"""One bottleneck adapter, its blend and its laws."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clip_adapter.adapters import ResidualAdapter, logits, residual_blend
from clip_adapter.adapters.residual import bottleneck_width
from clip_adapter.errors import ClipAdapterError, SettingsError

DIM, SCALE = 16, 100.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def adapter(*, ratio: float = 0.6, output_activation: bool = True) -> ResidualAdapter:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ResidualAdapter(DIM, residual_ratio=ratio, output_activation=output_activation)


def gradients(model: ResidualAdapter, features: Tensor) -> list[Tensor]:
    """Of the loss that training minimises, for each weight."""
    scores = logits(model(features), normal(3, DIM, seed=1), SCALE)
    loss = torch.nn.functional.cross_entropy(scores, torch.arange(len(features)) % 3)
    return list(torch.autograd.grad(loss, tuple(model.parameters())))


def relu(values: np.ndarray) -> np.ndarray:
    positive: np.ndarray = np.maximum(values, 0.0)
    return positive


@pytest.mark.parametrize(
    ("output_activation", "last"), [(True, relu), (False, lambda values: values)]
)
def test_the_adapter_is_the_formula_of_the_paper(
    *, output_activation: bool, last: Callable[[np.ndarray], np.ndarray]
) -> None:
    model = adapter(ratio=0.3, output_activation=output_activation)
    features = normal(5, DIM)
    f = features.double().numpy()
    down, up = (weight.detach().double().numpy() for weight in model.parameters())
    expected = 0.3 * last(relu(f @ down.T) @ up.T) + 0.7 * f
    # Two float32 products of at most 16 terms, each of size 1.
    np.testing.assert_allclose(model(features).detach(), expected, atol=1e-5)


def test_the_second_activation_is_on_unless_it_is_switched_off() -> None:
    assert ResidualAdapter(DIM).output_activation


def test_there_are_no_biases() -> None:
    shapes = [tuple(weight.shape) for weight in ResidualAdapter(DIM, reduction=4).parameters()]
    assert shapes == [(4, DIM), (DIM, 4)]


def test_ratio_zero_gives_the_features_back_bit_for_bit() -> None:
    features = normal(5, DIM)
    assert torch.equal(adapter(ratio=0.0)(features), features)


def test_ratio_one_leaves_nothing_of_the_features() -> None:
    features, adapted = normal(5, DIM), normal(5, DIM, seed=1)
    assert torch.equal(residual_blend(features, adapted, 1.0), adapted)


@given(ratio=st.floats(0.0, 1.0))
def test_a_blend_lies_between_what_it_blends(ratio: float) -> None:
    features, adapted = normal(5, DIM), normal(5, DIM, seed=1)
    blend = residual_blend(features, adapted, ratio)
    slack = 1e-6  # one rounding of numbers of size 1
    assert (blend >= torch.minimum(features, adapted) - slack).all()
    assert (blend <= torch.maximum(features, adapted) + slack).all()


@given(exponent=st.integers(-15, 15))
def test_scaling_raw_features_by_a_power_of_two_changes_no_bit_of_a_gradient(
    exponent: int,
) -> None:
    features = normal(6, DIM)
    scaled = gradients(adapter(), features * 2.0**exponent)
    for found, expected in zip(scaled, gradients(adapter(), features), strict=True):
        assert torch.equal(found, expected)


# Beyond this range the square of a norm leaves float32, where no CLIP's features are.
@given(factor=st.floats(1e-6, 1e6))
def test_scaling_raw_features_by_a_positive_number_changes_no_logit_and_no_gradient(
    factor: float,
) -> None:
    features, prototypes = normal(6, DIM), normal(3, DIM, seed=1)
    model = adapter()
    scaled = logits(model(features * factor), prototypes, SCALE)
    expected = logits(model(features), prototypes, SCALE)
    # Each product of 16 float32 terms is off by some 1e-7 of its size, and the logits and
    # gradients here are of size 100.
    torch.testing.assert_close(scaled, expected, atol=1e-4, rtol=0.0)
    for found, wanted in zip(
        gradients(model, features * factor), gradients(model, features), strict=True
    ):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0.0)


@given(dim=st.integers(1, 2048), data=st.data())
def test_every_reduction_up_to_the_width_leaves_a_hidden_unit(
    dim: int, data: st.DataObject
) -> None:
    reduction = data.draw(st.integers(1, dim))
    assert 1 <= bottleneck_width(dim, reduction) <= dim


@pytest.mark.parametrize("reduction", [0, -1, DIM + 1])
def test_a_reduction_that_leaves_no_hidden_unit_is_refused(reduction: int) -> None:
    with pytest.raises(SettingsError, match=f"choose a reduction from 1 to {DIM}"):
        ResidualAdapter(DIM, reduction=reduction)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan, math.inf])
def test_a_ratio_outside_zero_to_one_is_refused(ratio: float) -> None:
    with pytest.raises(SettingsError, match="from 0 to 1"):
        ResidualAdapter(DIM, residual_ratio=ratio)


def test_a_refusal_belongs_to_the_family_and_is_a_value_error() -> None:
    assert issubclass(SettingsError, ClipAdapterError)
    assert issubclass(SettingsError, ValueError)
