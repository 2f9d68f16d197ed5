"""What the results show: CLIP-Adapter compared with every other method, in words."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

from clip_adapter.report.numbers import listed, points
from clip_adapter.report.results import DatasetResults, MethodSeries, reference_series
from clip_adapter.runs import (
    ADVISED_SEEDS,
    IncomparableRunsError,
    PairedDifference,
    Verdict,
    adjust_p_values,
    compare,
)
from clip_adapter.shots import shots_in_words


@dataclass(frozen=True, kw_only=True)
class PairwiseComparison:
    """The reference compared with one other method at one number of shots.

    Attributes:
        baseline: name of the other method.
        shots: labelled images a class of the reference.
        paired: difference of the reference from the baseline.
    """

    baseline: str
    shots: int
    paired: PairedDifference


@dataclass(frozen=True, kw_only=True)
class Interpretation:
    """The comparisons of the reference with all other methods.

    Attributes:
        reference: name of the method that the others are compared with.
        comparisons: comparisons by baseline, then shots; at least one.
        refused: reasons why others could not be compared, a sentence each.
    """

    reference: str
    comparisons: tuple[PairwiseComparison, ...]
    refused: tuple[str, ...]

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """The name of each baseline, and what the comparisons with it show."""
        by_baseline: dict[str, list[PairwiseComparison]] = defaultdict(list)
        for comparison in self.comparisons:
            by_baseline[comparison.baseline].append(comparison)
        return [(baseline, _in_words(group)) for baseline, group in by_baseline.items()]

    @property
    def tally(self) -> str:
        """The number of comparisons with each verdict."""
        shown = [comparison.paired.verdict for comparison in self.comparisons]
        return (
            f"ahead in {shown.count('ahead')} of {len(shown)} comparisons and behind in "
            f"{shown.count('behind')}; in {shown.count('no difference shown')} no difference is shown"
        )

    @property
    def n_of_one_draw(self) -> int:
        """Number of comparisons at a single seed."""
        return sum(len(each.paired.seed_differences) == 1 for each in self.comparisons)

    @property
    def n_on_same_images(self) -> int:
        """Number of comparisons of which all seeds train on the same images."""
        return sum(each.paired.same_training_images for each in self.comparisons)

    @property
    def could_show_more(self) -> bool:
        """Whether more seeds than some comparison has would show smaller differences."""
        return any(
            len(each.paired.seed_differences) < ADVISED_SEEDS
            and not each.paired.same_training_images
            for each in self.comparisons
        )


def interpret(results: DatasetResults, series: Sequence[MethodSeries]) -> Interpretation | None:
    """Compare CLIP-Adapter with every other series; None where nothing can be compared."""
    reference = reference_series(series)
    if reference is None:
        return None
    comparisons, refused = [], []
    for baseline in series:
        for shots in reference.shots if baseline is not reference else ():
            if shots not in baseline.shots and baseline.shots != [0]:
                continue
            try:
                paired = paired_series(results, reference, baseline, shots)
            except IncomparableRunsError as error:
                refused.append(f"{baseline.name} at {shots_in_words(shots)}: {error}")
            else:
                comparisons.append(
                    PairwiseComparison(baseline=baseline.name, shots=shots, paired=paired)
                )
    if not comparisons:
        return None
    adjusted = adjust_p_values([each.paired for each in comparisons])
    return Interpretation(
        reference=reference.name,
        comparisons=tuple(
            replace(each, paired=paired) for each, paired in zip(comparisons, adjusted, strict=True)
        ),
        refused=tuple(refused),
    )


def paired_series(
    results: DatasetResults, series: MethodSeries, baseline: MethodSeries, shots: int
) -> PairedDifference:
    """The difference of a series from another at a number of shots, on the same test images.

    Raises:
        IncomparableRunsError: the runs share no seed, training images or test images.
    """
    a, b = series.comparable(shots), baseline.comparable(shots)
    return compare(a, b, results.correctness).paired


def leaders(series: Sequence[MethodSeries]) -> list[tuple[str, str]]:
    """The series with the highest mean accuracy, and the shots at which each has it."""
    best: dict[str, list[int]] = defaultdict(list)
    for shots in sorted({shots for each in series for shots in each.shots} - {0}):
        means = {
            each.name: mean.value
            for each in series
            for mean in [each.mean("accuracy", 0 if each.shots == [0] else shots)]
            if mean is not None
        }
        best[max(means, key=lambda name: means[name])].append(shots)
    return [(name, _at(shots)) for name, shots in best.items()]


def _in_words(comparisons: Sequence[PairwiseComparison]) -> str:
    parts = []
    for verdict in get_args(Verdict):
        having = [each for each in comparisons if each.paired.verdict == verdict]
        if having:
            differences = listed([points(each.paired.difference) for each in having])
            parts.append(f"{verdict} at {_at([each.shots for each in having])} ({differences})")
    return "; ".join(parts)


def _at(shots: Sequence[int]) -> str:
    if len(shots) == 1:
        return shots_in_words(shots[0])
    return f"{listed([shots_in_words(one).partition(' ')[0] for one in shots])} shots"
