"""What sets a residual ratio, and where it starts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_adapter.adapters import FixedRatios, LearnedRatios, PredictedRatios
from clip_adapter.adapters.stacked import Ratios


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("ratios", [LearnedRatios(2), PredictedRatios(2, 8)])
def test_what_is_learned_starts_at_a_fifth(ratios: Ratios) -> None:
    found = ratios(normal(2, 5, 8), normal(3, 8))
    torch.testing.assert_close(found, torch.full_like(found, 0.2))


def test_a_given_ratio_comes_back_as_it_was_given() -> None:
    ratios = FixedRatios([0.1, 0.7])
    assert ratios.one(1, normal(5, 8), normal(3, 8)) == 0.7
    assert list(ratios.parameters()) == []


def test_a_predicted_ratio_is_its_formula() -> None:
    ratios, features, prototypes = PredictedRatios(2, 8), normal(2, 5, 8), normal(3, 8)
    with torch.no_grad():
        for number, weights in enumerate(ratios.parameters()):
            weights.copy_(normal(*weights.shape, seed=number + 1))
    found = ratios(features, prototypes).detach().numpy()
    w = prototypes.double().numpy()
    mean = (w / np.linalg.norm(w, axis=1, keepdims=True)).mean(axis=0)
    for number in range(2):
        query, context, shift = (
            one[number].detach().double().numpy() for one in ratios.parameters()
        )
        f = features[number].double().numpy()
        f = f / np.linalg.norm(f, axis=1, keepdims=True)
        logit = f @ query + mean @ context + np.log(0.2 / 0.8) + shift
        expected = 1 / (1 + np.exp(-logit))
        # Float32 sums of eight terms.
        np.testing.assert_allclose(found[number][:, 0], expected, atol=1e-6)


@pytest.mark.parametrize("ratios", [LearnedRatios(2), PredictedRatios(2, 8)])
def test_weight_decay_pulls_what_is_learned_back_to_a_fifth(ratios: Ratios) -> None:
    for weights in ratios.parameters():
        torch.nn.init.constant_(weights, 3.0)
    optimizer = torch.optim.SGD(ratios.parameters(), lr=0.1, weight_decay=5.0)
    for _ in range(40):
        optimizer.zero_grad()
        (0.0 * ratios(normal(2, 5, 8), normal(3, 8)).sum()).backward()
        optimizer.step()
    found = ratios(normal(2, 5, 8), normal(3, 8))
    torch.testing.assert_close(found, torch.full_like(found, 0.2))
