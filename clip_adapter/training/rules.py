"""What an optimiser does to the weight matrices of many adapters, their gradients written out."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.training.momentum import ScaledStep, scaled_steps
from clip_adapter.training.optimizers import optimizer_of
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import steps_of


@runtime_checkable
class WeightRule(Protocol):
    """Weights `[g m n]` of G adapters, in training.

    Attributes:
        weights: divided by the step's `weight`.
    """

    weights: Float[Tensor, "g m n"]

    def rescale(self, step: ScaledStep) -> None:
        """Shrink weights and fade momentum as the step says."""

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """Take in the weights' gradient `inputs @ gradients`, times `gain`."""

    def advance(self, step: ScaledStep) -> None:
        """Move the weights."""


class MomentumRule:
    """SGD: the gradient's product goes straight into the momentum.

    Args:
        weights: trained in place.
    """

    def __init__(self, weights: Float[Tensor, "g m n"]) -> None:
        self.weights = weights
        self.momentum = torch.zeros_like(weights)

    def rescale(self, step: ScaledStep) -> None:
        """See `WeightRule`."""
        if step.shrink != 1:
            self.weights.mul_(step.shrink)
        if step.fade != 1:
            self.momentum.mul_(step.fade)

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """See `WeightRule`."""
        self.momentum.baddbmm_(inputs, gradients, alpha=gain)

    def advance(self, step: ScaledStep) -> None:
        """See `WeightRule`."""
        self.weights.add_(self.momentum, alpha=step.advance)


class AdamRule:
    """Adam or AdamW, torch's own.

    Args:
        weights: trained in place.
        training: optimiser and weight decay.
    """

    def __init__(self, weights: Float[Tensor, "g m n"], training: Training) -> None:
        self.weights = weights
        self.gradient = weights.grad = torch.empty_like(weights)
        self.optimizer = optimizer_of([weights], training)

    def rescale(self, step: ScaledStep) -> None:
        """See `WeightRule`: there is nothing to rescale."""

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """See `WeightRule`."""
        product = self.gradient  # what was in it does not count
        torch.baddbmm(product, inputs, gradients, beta=0, alpha=gain, out=product)

    def advance(self, step: ScaledStep) -> None:
        """See `WeightRule`; of the step only the learning rate counts, minus its `advance`."""
        self.optimizer.param_groups[0]["lr"] = -step.advance
        self.optimizer.step()


def rule_of(weights: Float[Tensor, "g m n"], training: Training) -> WeightRule:
    """The rule of the training's optimiser."""
    return MomentumRule(weights) if training.optimizer == "sgd" else AdamRule(weights, training)


def steps_for(training: Training, n_images: int) -> Iterator[ScaledStep]:
    """What each step does; Adam's are plain: minus the learning rate is their `advance`."""
    rates = learning_rates(training, n_images)
    if training.optimizer == "sgd":
        momentum, decay = training.momentum, training.weight_decay
        yield from scaled_steps(rates, momentum=momentum, weight_decay=decay)
    else:
        for rate in rates:
            yield ScaledStep(
                shrink=1.0, fade=1.0, weight=1.0, gain=1.0, advance=-rate, weight_after=1.0
            )


def learning_rates(training: Training, n_images: int) -> Iterator[float]:
    """The learning rate of each step."""
    steps = steps_of(n_images, training.batch_size)
    for epoch in range(training.epochs):
        for step in range(steps):
            yield training.learning_rate_at(epoch, step / steps)
