"""Scalars that stand in for SGD's momentum and weight decay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.training.weight_updates import SMALLEST, is_scalable, scaled_steps

LENGTH = 5
RATES = st.lists(st.floats(1e-6, 0.3), min_size=1, max_size=30)


def gradient(weights: torch.Tensor, number: int) -> torch.Tensor:
    """Anything that depends on the weights and on the step."""
    return torch.sin(weights + number)


def by_torch(rates: list[float], *, momentum: float, weight_decay: float) -> torch.Tensor:
    weights = torch.linspace(-1, 1, LENGTH, dtype=torch.float64)
    optimizer = torch.optim.SGD([weights], lr=1.0, momentum=momentum, weight_decay=weight_decay)
    for number, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        weights.grad = gradient(weights, number)
        optimizer.step()
    return weights


def by_scalars(rates: list[float], *, momentum: float, weight_decay: float) -> torch.Tensor:
    stored = torch.linspace(-1, 1, LENGTH, dtype=torch.float64)
    faded, weight = torch.zeros_like(stored), 1.0
    steps = scaled_steps(rates, momentum=momentum, weight_decay=weight_decay)
    for number, step in enumerate(steps):
        stored *= step.shrink
        faded *= step.fade
        faded += step.gain * gradient(step.weight * stored, number)
        stored += step.advance * faded
        weight = step.weight_after
    return weight * stored


@given(rates=RATES, momentum=st.floats(0, 0.95), weight_decay=st.floats(0, 0.05))
def test_scaled_steps_end_where_torch_ends(
    rates: list[float], momentum: float, weight_decay: float
) -> None:
    settings = {"momentum": momentum, "weight_decay": weight_decay}
    assert is_scalable(rates, **settings)
    # At most 30 steps, each of which may double an error of double precision.
    torch.testing.assert_close(
        by_scalars(rates, **settings), by_torch(rates, **settings), atol=1e-9, rtol=1e-9
    )


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 5e-4), (0.5, 1.5), (0.0, 2.0)])
def test_thousands_of_steps_end_where_torch_ends(momentum: float, weight_decay: float) -> None:
    # Long enough for weights to shrink and momenta to fade many times over.
    rates, settings = [0.05] * 2000, {"momentum": momentum, "weight_decay": weight_decay}
    found = by_scalars(rates, **settings)
    torch.testing.assert_close(found, by_torch(rates, **settings), atol=1e-9, rtol=1e-9)


def test_no_scale_leaves_the_range_of_float32() -> None:
    # A step at most doubles a gradient.
    for step in scaled_steps([0.1] * 3000, momentum=0.3, weight_decay=2.0):
        assert SMALLEST <= step.weight <= 1
        assert 0 < step.gain <= 2 / SMALLEST


def test_steps_that_flip_the_sign_of_a_weight_are_left_to_torch() -> None:
    assert is_scalable([0.1], momentum=0.9, weight_decay=4.9)
    assert not is_scalable([0.1], momentum=0.9, weight_decay=5.1)
    assert not is_scalable([1e15], momentum=0.0, weight_decay=1e15)


def test_a_decay_that_grows_beyond_half_only_by_momentum_is_left_to_torch() -> None:
    # 0.3 in the first step; 0.9 * 3 / (1 - 0.3) + 3 = 6.86 in the buffer of the second.
    assert is_scalable([0.1], momentum=0.9, weight_decay=3.0)
    assert not is_scalable([0.1, 0.1], momentum=0.9, weight_decay=3.0)
    assert is_scalable([0.1, 0.1], momentum=0.5, weight_decay=2.0)
    assert not is_scalable([0.1, 0.1], momentum=0.9, weight_decay=2.5)
