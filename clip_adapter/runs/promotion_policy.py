"""The policy by which a candidate is promoted or refused; docs/champions.md explains it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from clip_adapter.runs.paired import PairedDifference

FEWEST_IMAGES = 30
"""Smallest number of images to compare on; with fewer, differences of practical use are within
chance."""


@dataclass(frozen=True, kw_only=True)
class LabelDrift:
    """Images whose class has changed since the champion was trained.

    Attributes:
        n_common: number of images, without test images, that are in the dataset index of the
            champion and in today's.
        n_relabelled: number of these images whose class has another name.
        example: one of the changes in words; empty where there is none.
        unknown: reason why the two indexes cannot be compared; empty where they can.
        renamed: today's name of each class of the champion that was renamed, which is no change of
            its images.
    """

    n_common: int = 0
    n_relabelled: int = 0
    example: str = ""
    unknown: str = ""
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Changed images as a fraction of the images in common; 0 where there are none."""
        return self.n_relabelled / self.n_common if self.n_common else 0.0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a candidate is promoted.

    Attributes:
        outcome: "promoted" if the candidate becomes the champion, else "refused".
        reason: a sentence with the numbers.
        is_regression: whether the dataset or the training got worse and needs attention.
    """

    outcome: Literal["promoted", "refused"]
    reason: str
    is_regression: bool = False


def decide(  # noqa: PLR0913  # all that decides
    paired: PairedDifference | None,
    drift: LabelDrift,
    *,
    baseline: str,
    n_images: int,
    max_relabelled_fraction: float,
    left_out: Sequence[str] = (),
    note: str = "",
) -> Decision:
    """Promote a candidate that is proven better, refuse every other.

    Better is proven where p < 0.05 in McNemar's exact test, which is where the 95 % interval of the
    difference lies above 0. What is claimed is about these two classifiers, so that draws of training
    images have no part in it. Changed labels beyond `max_relabelled_fraction` are refused whatever the accuracy: a candidate that
    learned a mistake is right on images that share it.

    Args:
        paired: candidate against baseline on the same images; None where there are too few.
        drift: changes of labels since the champion was trained.
        baseline: name of the champion, or of what takes its place, in messages.
        n_images: number of images on which both can be compared.
        max_relabelled_fraction: largest accepted fraction of changed images, 0 to 1; at 1 labels
            are not compared.
        left_out: classes of the champion that the candidate lacks, as they have too few images; it is
            never promoted then, since it was compared without them.
        note: what limits the images, for the end of the reason; empty where nothing does.
    """
    changed = _decide_on_labels(drift, max_relabelled_fraction)
    if changed is not None:
        return changed
    if paired is None:
        reason = (
            f"not proven better: {n_images} images that neither learned from, expected "
            f"{FEWEST_IMAGES} or more to compare on; label more, or train on fewer shots"
        )
        return Decision(outcome="refused", reason=reason + note)
    numbers = _numbers(paired, baseline) + note
    if paired.verdict == "ahead":
        if left_out:
            return Decision(outcome="refused", reason=_fewer_classes(left_out, baseline))
        return Decision(outcome="promoted", reason=f"proven better: {numbers}")
    if paired.verdict == "behind":
        return Decision(outcome="refused", reason=f"proven worse: {numbers}", is_regression=True)
    return Decision(outcome="refused", reason=f"not proven better: {numbers}")


def _decide_on_labels(drift: LabelDrift, limit: float) -> Decision | None:
    accept = "to accept them on purpose, train once with --max-relabelled-fraction 1"
    if limit >= 1:
        return None
    if drift.unknown:
        reason = f"whether labels changed cannot be determined: {drift.unknown}; {accept}"
        return Decision(outcome="refused", reason=reason)
    if drift.fraction <= limit:
        return None
    reason = (
        f"labels changed: {drift.n_relabelled:,} of {drift.n_common:,} images "
        f"({drift.fraction:.1%}, at most {limit:.1%} are accepted) have another class than when "
        f"the champion was trained, as {drift.example}; put the labels right, or {accept}"
    )
    return Decision(outcome="refused", reason=reason, is_regression=True)


def _fewer_classes(left_out: Sequence[str], baseline: str) -> str:
    n = len(left_out)
    listed = ", ".join(map(repr, left_out[:5])) + (f" and {n - 5} more" if n > 5 else "")
    return (
        f"{n} {'class' if n == 1 else 'classes'} that {baseline} knows would be lost: {listed} "
        f"{'has' if n == 1 else 'have'} too few images and {'was' if n == 1 else 'were'} left out; train "
        "with --short-classes take-all, or without --short-classes skip on more images"
    )


def _numbers(paired: PairedDifference, baseline: str) -> str:
    p_value = f"p = {paired.p_value:.2g}" if paired.p_value >= 1e-4 else "p < 0.0001"
    return (
        f"{paired.accuracy_a:.1%} of {paired.n_images:,} images right, {baseline} "
        f"{paired.accuracy_b:.1%}; difference {100 * paired.difference:+.1f} points, 95 % interval "
        f"{100 * paired.low:+.1f} to {100 * paired.high:+.1f}, {p_value}"
    )
