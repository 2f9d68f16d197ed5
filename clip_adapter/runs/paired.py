"""The difference between two classifiers or methods on the same images, and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Bool, Int

Verdict = Literal["ahead", "behind", "no difference shown"]

LEVEL = 0.05
"""Significance level of a verdict, two-sided; intervals cover 1 - LEVEL."""
ADVISED_SEEDS = 10
"""Number of seeds with which differences of practical use are seen: docs/comparison.md."""

_SMALLEST_P = 1e-300


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference in accuracy between a and b on the same images.

    a and b are two classifiers where there is one seed, and two methods where there are several.

    Attributes:
        accuracy_a: accuracy of a, a fraction, the mean over seeds.
        accuracy_b: accuracy of b, a fraction, the mean over seeds.
        low: lower end of the 95 % interval of `difference`; above 0 only if `p_value` < 0.05.
        high: upper end of the 95 % interval of `difference`; below 0 only if `p_value` < 0.05.
        wins: number of images on which a is right at more seeds than b.
        losses: number of images on which b is right at more seeds than a.
        n_images: number of images, ties included.
        p_value: probability of a difference at least as large if a and b were equally accurate;
            two-sided.
        adjusted_p_value: `p_value` after Holm's correction for the other comparisons that are shown
            with this one; `p_value` itself for one that is shown alone.
        seed_differences: accuracy of a minus that of b at each seed.
        same_training_images: whether several seeds train on the same images, so that they differ in
            the initial weights only.
    """

    accuracy_a: float
    accuracy_b: float
    low: float
    high: float
    wins: int
    losses: int
    n_images: int
    p_value: float
    adjusted_p_value: float
    seed_differences: tuple[float, ...]
    same_training_images: bool = False

    @property
    def difference(self) -> float:
        """Accuracy of a minus that of b; positive where a is better."""
        return self.accuracy_a - self.accuracy_b

    @property
    def ties(self) -> int:
        """Number of images on which both are right at equally many seeds."""
        return self.n_images - self.wins - self.losses

    @property
    def n_seeds_ahead(self) -> int:
        """Number of seeds at which a is better."""
        return sum(one > 0 for one in self.seed_differences)

    @property
    def verdict(self) -> Verdict:
        """Position of a: "ahead" or "behind" where the adjusted p-value is below 0.05."""
        if self.adjusted_p_value >= LEVEL:
            return "no difference shown"
        return "ahead" if self.difference > 0 else "behind"

    @property
    def scope(self) -> str:
        """What a verdict is about: the methods, or classifiers of one set of training images."""
        if self.same_training_images:
            return "these training images: all draws train on the same images"
        if len(self.seed_differences) == 1:
            return "these two classifiers: there is one draw of training images"
        return "the methods, for other training images and other test images"


def paired_difference(
    correct_a: Bool[np.ndarray, "s n"],
    correct_b: Bool[np.ndarray, "s n"],
    *,
    same_training_images: bool = False,
) -> PairedDifference:
    r"""Compare a and b, trained at s seeds each, on n images.

    With one seed, images are what varies: the p-value is McNemar's exact test's (McNemar 1947), and
    the interval the exact binomial one of the images on which only one is right, widened to the
    normal one where that is wider. So it is where the classifiers of all seeds are right on the same
    images.

    With several, the draws of training images and the images vary: the difference $d_{si}$ at
    seed s on image i is an effect of the draw, one of the image, and a rest. With the variance of
    the mean that draws and rest contribute, $V_D$ = (variance of the seeds' differences) / s, and
    that of images alone, $V_I$, the half-width at level $\\alpha$ is

    $$h(\\alpha) = \\sqrt{t_{s-1}^2 V_D + t_{n-1}^2 V_I}$$

    with Student's quantiles at $1 - \\alpha / 2$ (Banerjee 1960, Sankhya 22: holds the level whatever
    the ratio of the variances), but no less than that of images at fixed draws. The p-value is the
    level at which the interval touches 0. docs/adr/0043 has what else was tried.

    Args:
        correct_a: whether a is right, one row for each seed and one column for each image.
        correct_b: whether b is right, of equal seeds and images in equal order.
        same_training_images: whether all seeds train on the same images.
    """
    scores = correct_a.astype(np.int8) - correct_b.astype(np.int8)
    counts = scores.sum(axis=0, dtype=np.int64)
    wins, losses = int((counts > 0).sum()), int((counts < 0).sum())
    n_seeds, n_images = scores.shape
    difference = float(correct_a.mean()) - float(correct_b.mean())
    if n_seeds == 1 or (scores == scores[0]).all():
        p_value, below, above = _mcnemar(wins, losses, n_images)
    else:
        p_value, below = _crossed(scores)
        above = below
    return PairedDifference(
        accuracy_a=float(correct_a.mean()),
        accuracy_b=float(correct_b.mean()),
        low=max(-1.0, difference - below),
        high=min(1.0, difference + above),
        wins=wins,
        losses=losses,
        n_images=n_images,
        p_value=p_value,
        adjusted_p_value=p_value,
        seed_differences=tuple((correct_a.mean(axis=1) - correct_b.mean(axis=1)).tolist()),
        same_training_images=same_training_images and n_seeds > 1,
    )


def adjust_p_values(differences: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Correct the p-values of comparisons that are shown together, by Holm's method (1979).

    The chance that any of the verdicts is wrong is then 5 % at most, however they depend on each
    other. Intervals are unchanged: each covers its difference in 95 % of cases.
    """
    order = sorted(range(len(differences)), key=lambda place: differences[place].p_value)
    adjusted = [1.0] * len(differences)
    highest = 0.0
    for rank, place in enumerate(order):
        highest = max(highest, (len(order) - rank) * differences[place].p_value)
        adjusted[place] = min(1.0, highest)
    return [
        replace(one, adjusted_p_value=value)
        for one, value in zip(differences, adjusted, strict=True)
    ]


def _mcnemar(wins: int, losses: int, n_images: int) -> tuple[float, float, float]:
    """The exact p-value, and how far the interval reaches below and above the difference.

    The end towards 0 is that of Clopper and Pearson (1934), which lies beyond 0 where p >= 0.05. The
    normal interval leaves out 0 wherever the exact one does, so the wider of both does, too.
    """
    from scipy.special import bdtr, betaincinv, ndtri  # noqa: PLC0415  # takes 0.3 s to import

    untied = wins + losses
    if not untied:
        return 1.0, 0.0, 0.0
    p_value = min(1.0, 2 * float(bdtr(min(wins, losses), untied, 0.5)))
    low = betaincinv(wins, losses + 1, LEVEL / 2) if wins else 0.0
    high = betaincinv(wins + 1, losses, 1 - LEVEL / 2) if losses else 1.0
    difference = (wins - losses) / n_images
    normal = -ndtri(LEVEL / 2) * math.sqrt((untied / n_images - difference**2) / n_images)
    exact_low, exact_high = ((2 * share - 1) * untied / n_images for share in (low, high))
    return (
        p_value,
        max(difference - float(exact_low), float(normal)),
        max(float(exact_high) - difference, float(normal)),
    )


def _crossed(scores: Int[np.ndarray, "s n"]) -> tuple[float, float]:
    """The p-value and the half-width of the interval where draws and images vary."""
    n_seeds, n_images = scores.shape
    mean, by_seed, by_image = scores.mean(), scores.mean(axis=1), scores.mean(axis=0)
    draws = float(by_seed.var(ddof=1)) / n_seeds
    at_fixed_draws = float(by_image.var(ddof=1)) / n_images if n_images > 1 else 0.0
    if not draws + at_fixed_draws:  # a pattern of one or two images, say: no variance to judge by
        return 1.0, 1.0 + abs(float(mean))
    # Sums of squares: all = seeds + images + rest.
    squares = (scores.astype(np.int64) ** 2).sum() - scores.size * mean**2
    rest = squares - n_images * ((by_seed - mean) ** 2).sum()
    rest -= n_seeds * ((by_image - mean) ** 2).sum()
    of_rest = float(rest) / max(1, (n_seeds - 1) * (n_images - 1)) / scores.size
    half_width = _half_widths(
        draws=draws,
        images=max(0.0, at_fixed_draws - of_rest),
        at_fixed_draws=at_fixed_draws,
        n_seeds=n_seeds,
        n_images=n_images,
    )
    return _level_of(abs(float(mean)), half_width), half_width(LEVEL)


def _half_widths(
    *, draws: float, images: float, at_fixed_draws: float, n_seeds: int, n_images: int
) -> Callable[[float], float]:
    """The half-width of the interval as a function of its level."""
    from scipy.special import stdtrit  # noqa: PLC0415  # takes 0.3 s to import

    def half_width(level: float) -> float:
        of_draws = float(stdtrit(n_seeds - 1, level / 2)) ** 2
        of_images = float(stdtrit(n_images - 1, level / 2)) ** 2 if n_images > 1 else 0.0
        crossed = of_draws * draws + of_images * images
        return math.sqrt(max(crossed, of_images * at_fixed_draws))

    return half_width


def _level_of(difference: float, half_width: Callable[[float], float]) -> float:
    """The level at which the half-width equals a difference, by bisection of its logarithm."""
    low, high = math.log(_SMALLEST_P), 0.0
    if difference <= half_width(1.0):
        return 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        # A level is too low where its interval still holds 0.
        low, high = (middle, high) if half_width(math.exp(middle)) > difference else (low, middle)
    return math.exp(high)
