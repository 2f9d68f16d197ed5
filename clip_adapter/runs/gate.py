"""The rule by which a challenger is promoted or refused; docs/champions.md tells of it."""

from dataclasses import dataclass
from typing import Literal

from clip_adapter.runs.paired import PairedDifference

FEWEST_IMAGES = 30
"""To judge on: among fewer, differences that matter in use cannot be told from chance."""
LEVEL = 0.05
"""Of McNemar's test, two-sided."""


@dataclass(frozen=True, kw_only=True)
class LabelDrift:
    """How many images have another class than when the champion was trained.

    Attributes:
        n_common: Images, test images aside, that its dataset index and today's have in common.
        n_relabelled: Those of them whose class has another name.
        example: One of them, in words; empty where there is none.
        unknown: Why the two cannot be compared; empty where they can.
    """

    n_common: int = 0
    n_relabelled: int = 0
    example: str = ""
    unknown: str = ""

    @property
    def fraction(self) -> float:
        """Of the images in common; 0 where there are none."""
        return self.n_relabelled / self.n_common if self.n_common else 0.0


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What becomes of a challenger.

    Attributes:
        decision: Whether it reigns from now on.
        reason: A sentence with the numbers.
        is_regression: Whether the dataset or the training got worse, so that somebody must look.
    """

    decision: Literal["promoted", "refused"]
    reason: str
    is_regression: bool = False


def rule(
    paired: PairedDifference | None,
    drift: LabelDrift,
    *,
    rival: str,
    n_images: int,
    max_relabelled_fraction: float,
) -> Ruling:
    """Promote what is proven better, refuse everything else.

    Better is proven where the 95 % interval of the difference lies above 0 and p < 0.05. Labels
    that changed beyond `max_relabelled_fraction` are refused whatever the images say: a challenger
    that learned a mistake wins on images that share it.

    Args:
        paired: Challenger against champion on the same images; None where there are too few.
        drift: Of the labels.
        rival: What a person calls the champion.
        n_images: On which both can be judged.
        max_relabelled_fraction: Of the images in common, 0 to 1; at 1 labels are not looked at.
    """
    against = _about_labels(drift, max_relabelled_fraction)
    if against is not None:
        return against
    if paired is None:
        reason = (
            f"not proven better: {n_images} images that neither learned from, expected "
            f"{FEWEST_IMAGES} or more to judge on; label more, or train on fewer shots"
        )
        return Ruling(decision="refused", reason=reason)
    numbers = _numbers(paired, rival)
    if paired.low > 0 and paired.p_value < LEVEL:
        return Ruling(decision="promoted", reason=f"proven better: {numbers}")
    if paired.high < 0 and paired.p_value < LEVEL:
        return Ruling(decision="refused", reason=f"proven worse: {numbers}", is_regression=True)
    return Ruling(decision="refused", reason=f"not proven better: {numbers}")


def _about_labels(drift: LabelDrift, limit: float) -> Ruling | None:
    accept = "to accept them on purpose, train once with --max-relabelled-fraction 1"
    if limit >= 1:
        return None
    if drift.unknown:
        reason = f"whether labels changed cannot be told: {drift.unknown}; {accept}"
        return Ruling(decision="refused", reason=reason)
    if drift.fraction <= limit:
        return None
    reason = (
        f"labels changed: {drift.n_relabelled:,} of {drift.n_common:,} images "
        f"({drift.fraction:.1%}, at most {limit:.1%} are accepted) have another class than when "
        f"the champion was trained, as {drift.example}; put the labels right, or {accept}"
    )
    return Ruling(decision="refused", reason=reason, is_regression=True)


def _numbers(paired: PairedDifference, rival: str) -> str:
    p_value = f"p = {paired.p_value:.2g}" if paired.p_value >= 1e-4 else "p < 0.0001"
    return (
        f"{paired.accuracy_a:.1%} of {paired.n_images:,} images right, {rival} {paired.accuracy_b:.1%}; "
        f"difference {100 * paired.difference:+.1f} points, 95 % interval "
        f"{100 * paired.low:+.1f} to {100 * paired.high:+.1f}, {p_value}"
    )
