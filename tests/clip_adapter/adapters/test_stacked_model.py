"""Visual, text and both branches: the formulas, their independence, and what cannot matter."""

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_adapter.adapters import (
    FixedRatios,
    LearnedRatios,
    PredictedRatios,
    StackedAdapterModel,
    StackedBranch,
    logits,
)
from clip_adapter.adapters.stacked import Ratios

MODELS, IMAGES, DIM, HIDDEN, CLASSES, SCALE = 3, 6, 16, 4, 5, 100.0
BRANCHES = ["visual", "text", "both"]
RATIOS = ["fixed", "learned", "predicted"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """In double precision: what differs then is no rounding."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ratios_of(kind: str, *, seed: int) -> Ratios:
    """Away from where they start, so that every part of them counts."""
    made: dict[str, Ratios] = {
        "fixed": FixedRatios([0.25, 0.5, 0.75]),
        "learned": LearnedRatios(MODELS),
        "predicted": PredictedRatios(MODELS, DIM),
    }
    ratios = made[kind].double()
    with torch.no_grad():
        for number, weights in enumerate(ratios.parameters()):
            weights.copy_(normal(*weights.shape, seed=seed + number))
    return ratios


def branch(kind: str, *, seed: int, output_activation: bool = True) -> StackedBranch:
    return StackedBranch(
        normal(MODELS, DIM, HIDDEN, seed=seed),
        normal(MODELS, HIDDEN, DIM, seed=seed + 1),
        ratios=ratios_of(kind, seed=seed + 2),
        output_activation=output_activation,
    )


def forms(adapted: str, kind: str) -> StackedAdapterModel:
    return StackedAdapterModel(
        visual=None if adapted == "text" else branch(kind, seed=10),
        text=None if adapted == "visual" else branch(kind, seed=20),
    )


def scores_of(models: StackedAdapterModel, features: Tensor, prototypes: Tensor) -> Tensor:
    return logits(*models(features, prototypes), SCALE)


def gradients(models: StackedAdapterModel, features: Tensor, prototypes: Tensor) -> list[Tensor]:
    scores = scores_of(models, features, prototypes)
    labels = (torch.arange(MODELS * IMAGES) % CLASSES).view(MODELS, IMAGES)
    loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), labels.flatten())
    return list(torch.autograd.grad(loss, list(models.parameters())))


@pytest.mark.parametrize("kind", RATIOS)
@pytest.mark.parametrize("adapted", BRANCHES)
def test_scaling_images_one_by_one_changes_no_logit_and_no_gradient(
    adapted: str, kind: str
) -> None:
    models, features, prototypes = forms(adapted, kind), normal(3, IMAGES, DIM), normal(CLASSES, 16)
    factors = torch.logspace(-3, 3, MODELS * IMAGES, dtype=torch.float64).view(MODELS, IMAGES, 1)
    # Double precision: sixteen digits, of which sums of a few hundred terms lose three.
    torch.testing.assert_close(
        scores_of(models, features * factors, prototypes),
        scores_of(models, features, prototypes),
        atol=1e-9,
        rtol=1e-9,
    )
    torch.testing.assert_close(
        gradients(models, features * factors, prototypes),
        gradients(models, features, prototypes),
        atol=1e-9,
        rtol=1e-9,
    )


@pytest.mark.parametrize("kind", RATIOS)
@pytest.mark.parametrize("adapted", BRANCHES)
def test_reordering_the_classes_reorders_the_logits(adapted: str, kind: str) -> None:
    models, features, prototypes = forms(adapted, kind), normal(3, IMAGES, DIM), normal(CLASSES, 16)
    order = [3, 0, 4, 1, 2]
    found = scores_of(models, features, prototypes[order])
    torch.testing.assert_close(found, scores_of(models, features, prototypes)[..., order])


@pytest.mark.parametrize("kind", RATIOS)
def test_one_of_the_models_does_what_it_does_in_the_stack(kind: str) -> None:
    models, features, prototypes = branch(kind, seed=1), normal(3, IMAGES, DIM), normal(CLASSES, 16)
    together = models(features, prototypes)
    for number in range(MODELS):
        alone = models.one(number, features[number], prototypes)
        torch.testing.assert_close(alone, together[number], atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("output_activation", [True, False])
def test_the_text_branch_is_the_formula_of_the_paper(*, output_activation: bool) -> None:
    text = branch("fixed", seed=3, output_activation=output_activation)
    prototypes = normal(CLASSES, DIM)
    adapted = StackedAdapterModel(visual=None, text=text).adapted_prototypes(prototypes)
    w = prototypes.numpy()
    for number, ratio in enumerate([0.25, 0.5, 0.75]):
        down, up = text.down[number].detach().numpy(), text.up[number].detach().numpy()
        hidden = np.maximum(w @ down, 0.0) @ up
        if output_activation:
            hidden = np.maximum(hidden, 0.0)
        expected = ratio * hidden + (1 - ratio) * w
        np.testing.assert_allclose(adapted[number].detach().numpy(), expected, rtol=1e-9)


def test_a_branch_that_is_not_there_changes_nothing() -> None:
    features, prototypes = normal(3, IMAGES, DIM), normal(CLASSES, DIM)
    assert torch.equal(forms("visual", "fixed")(features, prototypes)[1], prototypes)
    assert torch.equal(forms("text", "fixed")(features, prototypes)[0], features)
