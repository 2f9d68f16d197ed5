"""Updates of the weights of many adapters by SGD or Adam, with gradients that are written out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.training.gradient_descent import optimizer_of
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import steps_of

SMALLEST = 1e-6
"""Scales below this are multiplied into the weights or the momentum, so that float32 keeps its digits."""
LARGEST_DECAY = 0.5
"""Largest decay of a weight in one step; beyond it the scales soon under- or overflow."""


@dataclass(frozen=True, kw_only=True)
class ScaledStep:
    """The scalars of one SGD step on stored weights S and stored momentum M of one tensor.

    In this order: `S *= shrink`, `M *= fade`; the weights are now `weight * S`, take the gradient
    there; `M += gain * gradient`, `S += advance * M`; the weights are now `weight_after * S`.

    Attributes:
        shrink: factor of the stored weights, 1 in nearly every step.
        fade: factor of the stored momentum, 1 in most steps.
        weight: scale of the weights before the step, above 0.
        gain: factor of the gradient, above 0.
        advance: factor of the momentum in the weights' change, 0 or below; minus the learning rate
            for Adam.
        weight_after: scale of the weights after the step.
    """

    shrink: float
    fade: float
    weight: float
    gain: float
    advance: float
    weight_after: float


def scaled_steps(
    rates: Iterable[float], *, momentum: float, weight_decay: float
) -> Iterator[ScaledStep]:
    """The steps of `torch.optim.SGD`, one for each learning rate.

    SGD reads and writes the weights W and the buffer B several times over,
    `B' = momentum * B + gradient + weight_decay * W`, `W' = W - rate * B'`. Both are linear, so
    two scalars a step take over decay and fading: with `W = p * S` and `B = v * M + q * W` (where
    S and M begin as the weights and zero, p and v as 1, q as 0) the same step is

        z = momentum * q + weight_decay,  k = 1 / (1 - rate * z),
        v' = k * momentum * v,  q' = k * z,  p' = p / k,
        M' = M + (k / v') * gradient,  S' = S - (rate * v' / p) * M'

    so that the gradient's matrix product may accumulate right into M. It is exact: the weights
    differ from SGD's by rounding only.

    Args:
        rates: learning rates for which `is_scalable` holds.
        momentum: momentum of SGD, 0 or more, below 1.
        weight_decay: coupled weight decay of SGD.
    """
    weight, faded, coupling = 1.0, 1.0, 0.0
    for rate in rates:
        pull = momentum * coupling + weight_decay
        stretch = 1.0 / (1.0 - rate * pull)
        coupling = stretch * pull
        shrink, weight = (weight, 1.0) if weight < SMALLEST else (1.0, weight)
        faded *= stretch * momentum
        fade, faded = (faded, 1.0) if faded < SMALLEST else (1.0, faded)
        yield ScaledStep(
            shrink=shrink,
            fade=fade,
            weight=weight,
            gain=stretch / faded,
            advance=-rate * faded / weight,
            weight_after=weight / stretch,
        )
        weight /= stretch


def is_scalable(rates: Iterable[float], *, momentum: float, weight_decay: float) -> bool:
    """Whether no step decays a weight by more than half."""
    coupling = 0.0
    for rate in rates:
        pull = momentum * coupling + weight_decay
        if not rate * pull <= LARGEST_DECAY:
            return False
        coupling = pull / (1.0 - rate * pull)
    return True


@runtime_checkable
class WeightUpdate(Protocol):
    """Updates the weights `[g m n]` of G adapters in place.

    Attributes:
        weights: the weights, divided by the step's `weight`.
    """

    weights: Float[Tensor, "g m n"]

    def rescale(self, step: ScaledStep) -> None:
        """Multiply weights by `step.shrink` and momentum by `step.fade`."""

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """Add the weights' gradient `inputs @ gradients`, times `gain`."""

    def advance(self, step: ScaledStep) -> None:
        """Change the weights by the accumulated gradient."""


class MomentumUpdate:
    """SGD; the product that is the gradient accumulates right in the momentum.

    Args:
        weights: weights to change in place.
    """

    def __init__(self, weights: Float[Tensor, "g m n"]) -> None:
        self.weights = weights
        self.momentum = torch.zeros_like(weights)

    def rescale(self, step: ScaledStep) -> None:
        """Multiply the weights by `step.shrink` and the momentum by `step.fade`."""
        if step.shrink != 1:
            self.weights.mul_(step.shrink)
        if step.fade != 1:
            self.momentum.mul_(step.fade)

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """Add the gradient `inputs @ gradients`, times `gain`, to the momentum."""
        self.momentum.baddbmm_(inputs, gradients, alpha=gain)

    def advance(self, step: ScaledStep) -> None:
        """Add the momentum, times `step.advance`, to the weights."""
        self.weights.add_(self.momentum, alpha=step.advance)


class AdamUpdate:
    """Adam or AdamW of torch.

    Args:
        weights: weights to change in place.
        training: optimiser and weight decay.
    """

    def __init__(self, weights: Float[Tensor, "g m n"], training: Training) -> None:
        self.weights = weights
        self.gradient = weights.grad = torch.empty_like(weights)
        self.optimizer = optimizer_of([weights], training)

    def rescale(self, step: ScaledStep) -> None:
        """Do nothing: the weights are not scaled."""

    def accumulate(
        self, inputs: Float[Tensor, "g m b"], gradients: Float[Tensor, "g b n"], *, gain: float
    ) -> None:
        """Set the gradient to `inputs @ gradients`, times `gain`."""
        product = self.gradient  # overwritten, as beta is 0
        torch.baddbmm(product, inputs, gradients, beta=0, alpha=gain, out=product)

    def advance(self, step: ScaledStep) -> None:
        """Take a step of the optimiser; the learning rate is minus `step.advance`."""
        self.optimizer.param_groups[0]["lr"] = -step.advance
        self.optimizer.step()


def weight_update_for(weights: Float[Tensor, "g m n"], training: Training) -> WeightUpdate:
    """The update by the optimiser of the training."""
    return MomentumUpdate(weights) if training.optimizer == "sgd" else AdamUpdate(weights, training)


def scaled_steps_of(training: Training, n_images: int) -> Iterator[ScaledStep]:
    """The scalars of each step; a step of Adam has minus its learning rate as `advance`."""
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
