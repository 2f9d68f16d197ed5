"""A down-projection that is kept as a combination of its rows is the same as any other."""

import pytest
import torch
from torch import Tensor

from clip_adapter.training.down_projections import (
    DenseDownProjection,
    DownProjection,
    GatheredBatch,
    GramDownProjection,
)
from clip_adapter.training.weight_updates import MomentumUpdate, ScaledStep

N_ADAPTERS, N_ROWS, DIM, HIDDEN, BATCH = 3, 6, 10, 4, 2
SETS = torch.tensor([0, 1, 0])


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


FEATURES = normal(2, N_ROWS, DIM)


def batch(seed: int) -> GatheredBatch:
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(N_ROWS, generator=generator)[:BATCH].expand(N_ADAPTERS, -1)
    return GatheredBatch(
        rows=(chosen + SETS[:, None] * N_ROWS).flatten(),
        own_rows=(chosen + torch.arange(N_ADAPTERS)[:, None] * N_ROWS).flatten(),
        features=FEATURES[SETS][:, chosen[0]],
        labels=torch.zeros(1, N_ADAPTERS * BATCH, dtype=torch.int64),
    )


def walk(down: DownProjection, steps: list[ScaledStep]) -> tuple[list[Tensor], Tensor]:
    """What the projection answers on a short walk, each step of which depends on the answer."""
    answers = []
    for number, step in enumerate(steps):
        images = batch(number)
        hidden = torch.empty(N_ADAPTERS, BATCH, HIDDEN, dtype=torch.float64)
        down.rescale(step)
        down.hidden(images, hidden)
        answers.append(hidden.clone())
        down.accumulate(images, torch.cos(hidden), gain=step.gain)
        down.advance(step)
    return answers, down.trained(0.5)


@pytest.mark.parametrize("rescaled", [1.0, 0.25])
def test_both_ways_to_keep_it_give_the_same(rescaled: float) -> None:
    step = ScaledStep(
        shrink=rescaled, fade=rescaled, weight=1.0, gain=2.0, advance=-0.1, weight_after=1.0
    )
    start = normal(N_ADAPTERS, DIM, HIDDEN, seed=1)
    expected, direct = walk(DenseDownProjection(MomentumUpdate(start.clone())), [step] * 7)
    found, spanned = walk(GramDownProjection(start, FEATURES, SETS), [step] * 7)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(spanned, direct)
    assert not torch.allclose(direct, start)


def test_the_first_answer_is_the_projection_of_the_features() -> None:
    weights = normal(N_ADAPTERS, DIM, HIDDEN, seed=1)
    hidden = torch.empty(N_ADAPTERS, BATCH, HIDDEN, dtype=torch.float64)
    GramDownProjection(weights, FEATURES, SETS).hidden(batch(0), hidden)
    torch.testing.assert_close(hidden, batch(0).features @ weights)
