"""SGD with momentum and weight decay, rewritten so that a step touches each number once."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

SMALLEST = 1e-6
"""A scale below is multiplied into what it scales: float32 keeps its digits, far from its ends."""
LARGEST_DECAY = 0.5
"""Of a weight in one step; beyond, the scales soon lose their meaning."""


@dataclass(frozen=True, kw_only=True)
class ScaledStep:
    """What one step does to stored weights S and stored momentum M of one tensor.

    In this order: `S *= shrink`, `M *= fade`; the weights are now `weight * S`, take the gradient
    there; `M += gain * gradient`, `S += advance * M`; the weights are now `weight_after * S`.

    Attributes:
        shrink: 1 in nearly every step.
        fade: 1 in most steps.
        weight: above 0.
        gain: above 0.
        advance: 0 or below.
        weight_after: the `weight` of the next step, but for its shrinking.
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
        rates: for which `is_scalable` holds.
        momentum: of SGD, 0 or more, below 1.
        weight_decay: coupled, as SGD's.
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
    """Whether no step decays a weight by more than half, as any sensible one does."""
    coupling = 0.0
    for rate in rates:
        pull = momentum * coupling + weight_decay
        if not rate * pull <= LARGEST_DECAY:
            return False
        coupling = pull / (1.0 - rate * pull)
    return True
