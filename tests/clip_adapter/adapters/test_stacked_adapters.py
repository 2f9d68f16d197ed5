"""Many adapters as one tensor program: each must not notice the others."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from clip_adapter.adapters import ResidualAdapter, StackedAdapters

DIM = 16
RATIOS = (0.0, 0.1, 0.6, 1.0)


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def different_adapters(*, output_activation: bool = True) -> list[ResidualAdapter]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return [
            ResidualAdapter(DIM, residual_ratio=ratio, output_activation=output_activation)
            for ratio in RATIOS
        ]


@given(dim=st.integers(1, 40), data=st.data(), output_activation=st.booleans())
def test_unstacking_a_stack_gives_the_same_adapters_back(
    *, dim: int, data: st.DataObject, output_activation: bool
) -> None:
    reduction = data.draw(st.integers(1, dim))
    ratios = data.draw(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4))
    before = [
        ResidualAdapter(
            dim, reduction=reduction, residual_ratio=ratio, output_activation=output_activation
        )
        for ratio in ratios
    ]
    after = StackedAdapters.stack(before).unstack()
    assert [one.residual_ratio for one in after] == ratios  # as given, not rounded to float32
    assert all(one.output_activation == output_activation for one in after)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old.down.weight, new.down.weight)
        assert torch.equal(old.up.weight, new.up.weight)


@pytest.mark.parametrize("output_activation", [True, False])
def test_a_stack_computes_what_each_adapter_computes_alone(*, output_activation: bool) -> None:
    adapters = different_adapters(output_activation=output_activation)
    features = normal(len(adapters), 5, DIM)
    for found, one, block in zip(
        StackedAdapters.stack(adapters)(features), adapters, features, strict=True
    ):
        # A batched product may add up its 16 terms in another order.
        torch.testing.assert_close(found, one(block), atol=1e-6, rtol=1e-5)


def test_the_gradient_of_a_sum_is_the_gradient_of_each_alone() -> None:
    adapters = different_adapters()
    stack = StackedAdapters.stack(adapters)
    features = normal(len(adapters), 5, DIM)
    stack(features).square().sum().backward()
    assert stack.down.grad is not None
    for found, one, block in zip(stack.down.grad, adapters, features, strict=True):
        (expected,) = torch.autograd.grad(one(block).square().sum(), one.down.weight)
        torch.testing.assert_close(found.T, expected, atol=1e-5, rtol=1e-5)


def test_an_adapter_taken_off_a_stack_no_longer_changes_with_it() -> None:
    stack = StackedAdapters.stack(different_adapters())
    taken = stack.unstack()[0]
    before = taken.down.weight.clone()
    with torch.no_grad():
        stack.down.zero_()
    assert torch.equal(taken.down.weight, before)


def test_stacking_and_unstacking_leave_the_global_generator_alone() -> None:
    adapters = different_adapters()
    before = torch.random.get_rng_state()
    StackedAdapters.stack(adapters).unstack()
    assert torch.equal(torch.random.get_rng_state(), before)
