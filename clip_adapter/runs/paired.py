"""The difference between two classifiers on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Bool, Float

Verdict = Literal["ahead", "behind", "seeds disagree", "no difference shown"]

RESAMPLES = 10_000
SEED = 2110_04544
"""Seed of the resampling, so that the same runs always give the same interval."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference in accuracy between two classifiers, a and b, on the same images.

    Attributes:
        accuracy_a: accuracy of a, a fraction, the mean over seeds.
        accuracy_b: accuracy of b, a fraction, the mean over seeds.
        low: lower end of the 95 % interval of `difference`.
        high: upper end of the 95 % interval of `difference`.
        wins: number of images on which a is right at more seeds than b.
        losses: number of images on which b is right at more seeds than a.
        n_images: number of images, ties included.
        p_value: probability of a division of wins and losses at least as uneven if both were
            equally likely; two-sided.
        seed_differences: accuracy of a minus that of b at each seed.
    """

    accuracy_a: float
    accuracy_b: float
    low: float
    high: float
    wins: int
    losses: int
    n_images: int
    p_value: float
    seed_differences: tuple[float, ...]

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
        """Position of a: "ahead" or "behind" where the interval excludes 0 and all seeds agree.

        The interval covers the choice of test images, but not that of the few training images.
        Where it excludes 0 and the sign of some seed differs, the verdict is "seeds disagree".
        """
        if self.low <= 0 <= self.high:
            return "no difference shown"
        if min(self.seed_differences) > 0:
            return "ahead"
        return "behind" if max(self.seed_differences) < 0 else "seeds disagree"


def paired_difference(
    correct_a: Bool[np.ndarray, "s n"],
    correct_b: Bool[np.ndarray, "s n"],
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """Compare two classifiers, trained at s seeds each, on n images.

    An image's score is the mean over seeds of (a right) - (b right). The interval is the
    percentile bootstrap's (Efron 1979) of the mean score over images drawn with replacement. The
    p-value is that of the exact sign test on the scores that are not 0, with one seed McNemar's
    exact test (McNemar 1947): images, and not image-seed pairs, are what is independent.

    Args:
        correct_a: whether a is right, one row for each seed and one column for each image.
        correct_b: whether b is right, of equal seeds and images in equal order.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
    """
    scores = correct_a.mean(axis=0) - correct_b.mean(axis=0)
    by_seed = correct_a.mean(axis=1) - correct_b.mean(axis=1)
    counts = correct_a.sum(axis=0) - correct_b.sum(axis=0)  # whole numbers: no rounding near 0
    wins, losses = int((counts > 0).sum()), int((counts < 0).sum())
    low, high = _interval(scores, resamples=resamples, seed=seed)
    return PairedDifference(
        accuracy_a=float(correct_a.mean()),
        accuracy_b=float(correct_b.mean()),
        low=low,
        high=high,
        wins=wins,
        losses=losses,
        n_images=correct_a.shape[1],
        p_value=_sign_test(wins, losses),
        seed_differences=tuple(by_seed.tolist()),
    )


def _sign_test(wins: int, losses: int) -> float:
    """The p-value of `scipy.stats.binomtest`, whose module takes half a second to import."""
    from scipy.special import bdtr  # noqa: PLC0415  # takes 0.3 s to import

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _interval(scores: Float[np.ndarray, " n"], *, resamples: int, seed: int) -> tuple[float, float]:
    # Drawing n images is drawing how often each of the few possible scores comes up.
    values, counts = np.unique(scores, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(scores), counts / len(scores), size=resamples
    )
    low, high = np.quantile(drawn @ values / len(scores), [0.025, 0.975])
    return float(low), float(high)
