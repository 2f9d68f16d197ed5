"""How much two classifiers differ, judged on the very same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # takes time to import, and only describes shapes
    from jaxtyping import Bool, Float

Verdict = Literal["ahead", "behind", "seeds disagree", "no difference shown"]

RESAMPLES = 10_000
SEED = 2110_04544
"""Of the resampling, so that the same runs always give the same interval."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What two classifiers, a and b, made of the same images.

    Attributes:
        accuracy_a: a fraction, the mean over seeds.
        accuracy_b: the same of the other.
        low: lower end of the 95 % interval of `difference`.
        high: its upper end.
        wins: images on which a was right more often than b.
        losses: images on which b was right more often than a.
        n_images: of the test split, ties included.
        p_value: of as uneven a division of wins and losses or a more uneven one, if both were
            equally likely; two-sided.
        seed_differences: accuracy of a less that of b, seed by seed.
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
        """Accuracy of a less that of b; positive where a is the better one."""
        return self.accuracy_a - self.accuracy_b

    @property
    def ties(self) -> int:
        """Images on which both were right equally often."""
        return self.n_images - self.wins - self.losses

    @property
    def n_seeds_ahead(self) -> int:
        """The seeds at which a was better."""
        return sum(one > 0 for one in self.seed_differences)

    @property
    def verdict(self) -> Verdict:
        """Of a: "ahead" or "behind" where the interval leaves out 0 and every seed has its sign.

        The interval knows how the test images might have fallen, not how the few training images
        might have. Where it leaves out 0 and some seed says otherwise, "seeds disagree".
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
        correct_a: whether a was right, a row a seed and a column an image.
        correct_b: the same of b, of the same seeds and images in the same order.
        resamples: how often images are drawn.
        seed: of the drawing.
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
    """As `scipy.stats.binomtest`, whose module takes half a second to import."""
    from scipy.special import bdtr  # noqa: PLC0415  # 0.3 s, for those who compare

    return min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5)))


def _interval(scores: Float[np.ndarray, " n"], *, resamples: int, seed: int) -> tuple[float, float]:
    # Drawing n images is drawing how often each of the few possible scores comes up.
    values, counts = np.unique(scores, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(scores), counts / len(scores), size=resamples
    )
    low, high = np.quantile(drawn @ values / len(scores), [0.025, 0.975])
    return float(low), float(high)
