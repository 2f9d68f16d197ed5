"""Means with their intervals, and numbers as text."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtrit


@dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
        value: the mean.
        half_width: half-width of its 95 % interval by Student's t; None for a single seed.
    """

    value: float
    half_width: float | None

    @property
    def low(self) -> float:
        """Lower end of the interval, or the value itself."""
        return self.value - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """Upper end of the interval, or the value itself."""
        return self.value + (self.half_width or 0.0)


def mean_of(values: Sequence[float]) -> Mean:
    """The mean, with the half-width `t(0.975, n - 1) * s / sqrt(n)` for standard deviation s."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Mean(mean, None)
    quantile = float(stdtrit(len(values) - 1, 0.975))
    return Mean(mean, quantile * statistics.stdev(values) / math.sqrt(len(values)))


def percent(mean: Mean) -> str:
    """A fraction in percent with its interval.

    >>> percent(Mean(0.8431, 0.0124))
    '84.3 ± 1.2'
    """
    half = "" if mean.half_width is None else f" ± {100 * mean.half_width:.1f}"
    return f"{100 * mean.value:.1f}{half}"


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
