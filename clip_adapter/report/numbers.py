"""Means with their intervals, and numbers as text."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean.
        half_width: half-width of its 95 % interval by Student's t; None for a single seed, and where
            all seeds train on the same images, which leaves no draw of them to judge by.
        same_images: whether several seeds train on the same images.
    """

    value: float
    half_width: float | None
    same_images: bool = False

    @property
    def low(self) -> float:
        """Lower end of the interval, or the value itself."""
        return self.value - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval, or the value itself."""
        return self.value + (self.half_width or 0.0)


def mean_of(values: Sequence[float], *, same_images: bool = False) -> Mean:
    """The mean, with the half-width `t(0.975, n - 1) * s / sqrt(n)` for standard deviation s.

    Args:
        values: a value for each seed.
        same_images: whether all seeds train on the same images.
    """
    mean = statistics.fmean(values)
    if len(values) == 1 or same_images:
        return Mean(mean, None, same_images=len(values) > 1)
    from scipy.special import stdtrit  # noqa: PLC0415  # takes 0.2 s to import

    quantile = float(stdtrit(len(values) - 1, 0.975))
    return Mean(mean, quantile * statistics.stdev(values) / math.sqrt(len(values)))


def percent(mean: Mean) -> str:
    """A fraction in percent with its interval.

    >>> percent(Mean(0.8431, 0.0124)), percent(Mean(0.8431, None, same_images=True))
    ('84.3 ± 1.2', '84.3 (same images)')
    """
    return f"{100 * mean.value:.1f}{spread(mean)}"


def spread(mean: Mean) -> str:
    """What stands behind a mean in percent: its interval, or why it has none."""
    if mean.same_images:
        return " (same images)"
    return "" if mean.half_width is None else f" ± {100 * mean.half_width:.1f}"


def points(difference: float) -> str:
    """A difference of fractions in percentage points, with its sign.

    >>> points(-0.0337)
    '-3.4'
    """
    return f"{100 * difference:+.1f}"


def probability(value: float) -> str:
    """A p-value.

    >>> probability(0.00063), probability(1e-9)
    ('0.00063', 'below 0.0001')
    """
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"


def plain(value: object) -> str:
    """A setting as text.

    >>> plain(0.30000000000000004), plain(True), plain(50)
    ('0.3', 'yes', '50')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence.

    >>> listed(["1", "2", "4"])
    '1, 2 and 4'
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
