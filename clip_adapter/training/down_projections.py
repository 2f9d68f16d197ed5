"""Two ways to train the down-projections of many adapters without autograd."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.training.weight_updates import ScaledStep, WeightUpdate


@dataclass(frozen=True, kw_only=True)
class GatheredBatch:
    """The images of one step of G adapters, adapter after adapter.

    Attributes:
        rows: row numbers of the images among the rows of all training sets.
        own_rows: row numbers of the images if each adapter had a copy of its set.
        features: raw image features.
        labels: class numbers of the images.
    """

    rows: Int[Tensor, " gb"]
    own_rows: Int[Tensor, " gb"]
    features: Float[Tensor, "g b d"]
    labels: Int[Tensor, "1 gb"]


@runtime_checkable
class DownProjection(Protocol):
    """The weights `D [g d h]` of G adapters, which a training updates."""

    def hidden(self, batch: GatheredBatch, out: Float[Tensor, "g b h"]) -> None:
        """Write `features @ D` before its activation, divided by the step's `weight`."""

    def accumulate(
        self, batch: GatheredBatch, gradients: Float[Tensor, "g b h"], *, gain: float
    ) -> None:
        """Add the gradient `features.T @ gradients`, times `gain`."""

    def rescale(self, step: ScaledStep) -> None:
        """Multiply weights by `step.shrink` and momentum by `step.fade`."""

    def advance(self, step: ScaledStep) -> None:
        """Change the weights by `step.advance` times the momentum."""

    def trained(self, weight: float) -> Float[Tensor, "g d h"]:
        """The weights after some steps, of which `weight` is the last one's `weight_after`."""


class DenseDownProjection:
    """Stores the weights themselves; a step takes two products as wide as the features.

    Args:
        update: the weights and how they are updated.
    """

    def __init__(self, update: WeightUpdate) -> None:
        self.update = update

    def hidden(self, batch: GatheredBatch, out: Float[Tensor, "g b h"]) -> None:
        """Compute the hidden units of the rows of a batch."""
        torch.bmm(batch.features, self.update.weights, out=out)

    def accumulate(
        self, batch: GatheredBatch, gradients: Float[Tensor, "g b h"], *, gain: float
    ) -> None:
        """Add the gradient of the weights, times `gain`, to the momentum."""
        self.update.accumulate(batch.features.transpose(1, 2), gradients, gain=gain)

    def rescale(self, step: ScaledStep) -> None:
        """Multiply the weights by `step.shrink` and the momentum by `step.fade`."""
        self.update.rescale(step)

    def advance(self, step: ScaledStep) -> None:
        """Add the momentum, times `step.advance`, to the weights."""
        self.update.advance(step)

    def trained(self, weight: float) -> Float[Tensor, "g d h"]:
        """The weights, multiplied by `weight`."""
        return self.update.weights * weight


class GramDownProjection:
    """Under SGD, stores the weights as a combination of the training rows, of which there are few.

    Every gradient of D is a combination of the rows X `[r d]` of its batch. So `D = D0 + X.T @ C`
    (up to decay) with `C [r h]`, and the hidden units of all rows are
    `X @ D = X @ D0 + (X @ X.T) @ C`: `X @ D0` and the Gram matrix `X @ X.T` are computed once, a step
    multiplies by r instead of d numbers, and momentum and weights are as small as C.

    Args:
        weights: D0.
        features: the rows of each training set.
        set_of_adapter: number of the training set of each adapter.
    """

    def __init__(
        self,
        weights: Float[Tensor, "g d h"],
        features: Float[Tensor, "t r d"],
        set_of_adapter: Int[Tensor, " g"],
    ) -> None:
        self.weights = weights
        self.features = features[set_of_adapter]
        self.gram = torch.bmm(features, features.transpose(1, 2)).flatten(0, 1)
        untrained = torch.bmm(self.features, weights)
        self.shape = untrained.shape
        self.untrained = untrained.flatten(0, 1)
        self.combination = torch.zeros_like(untrained)
        self.momentum = torch.zeros_like(self.untrained)
        self.kept = 1.0

    def hidden(self, batch: GatheredBatch, out: Float[Tensor, "g b h"]) -> None:
        """Compute the hidden units of the rows of a batch."""
        gram = self.gram.index_select(0, batch.rows).view(*out.shape[:2], -1)
        torch.index_select(self.untrained, 0, batch.own_rows, out=out.view(-1, out.shape[2]))
        out.baddbmm_(gram, self.combination)

    def accumulate(
        self, batch: GatheredBatch, gradients: Float[Tensor, "g b h"], *, gain: float
    ) -> None:
        """Add the gradient of the weights, times `gain`, to the momentum."""
        self.momentum.index_add_(0, batch.own_rows, gradients.flatten(0, 1), alpha=gain)

    def rescale(self, step: ScaledStep) -> None:
        """Multiply the weights by `step.shrink` and the momentum by `step.fade`."""
        if step.shrink != 1:
            self.combination.mul_(step.shrink)
            self.untrained.mul_(step.shrink)
            self.kept *= step.shrink
        if step.fade != 1:
            self.momentum.mul_(step.fade)

    def advance(self, step: ScaledStep) -> None:
        """Add the momentum, times `step.advance`, to the weights."""
        self.combination.add_(self.momentum.view(self.shape), alpha=step.advance)

    def trained(self, weight: float) -> Float[Tensor, "g d h"]:
        """The weights D, multiplied by `weight`."""
        weights = self.weights * (self.kept * weight)
        return weights.baddbmm_(self.features.transpose(1, 2), self.combination, alpha=weight)
