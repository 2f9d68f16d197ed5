"""What the results show: CLIP-Adapter compared with every other method, in words."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from clip_adapter.report.numbers import listed, points
from clip_adapter.report.results import MethodSeries, Row, configuration_of, is_oracle
from clip_adapter.runs import ADVISED_SEEDS, PairedDifference, Verdict, adjust_p_values
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
        refused: methods and shots that share no seed, training images or test images with the reference.
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


def interpret(
    reference: MethodSeries, rows: Iterable[Row], series: Sequence[MethodSeries]
) -> Interpretation | None:
    """Compare a method with every other one; None where nothing can be compared.

    Args:
        reference: the method that the others are compared with.
        rows: rows of the statement `comparisons`.
        series: all methods on the leaderboard.
    """
    found = _comparisons(rows, series)
    if not found:
        return None
    shown = {(each.baseline, each.shots) for each in found}
    at_shots = {each.shots for each in found}
    refused = [
        f"{other.name} at {shots_in_words(shots)}"
        for other in series
        for shots in reference.shots
        if other is not reference and shots in at_shots
        if (shots in other.rows or not other.uses_shots) and (other.name, shots) not in shown
    ]
    return Interpretation(
        reference=reference.name, comparisons=tuple(found), refused=tuple(refused)
    )


def against(
    rows: Iterable[Row], series: Sequence[MethodSeries]
) -> dict[tuple[str, int], PairedDifference]:
    """The differences of the statement `against-zero-shot`, adjusted together, by name and shots."""
    return {(each.baseline, each.shots): each.paired for each in _comparisons(rows, series)}


def _comparisons(rows: Iterable[Row], series: Sequence[MethodSeries]) -> list[PairwiseComparison]:
    """The comparisons of rows in the order of the methods, with p-values that are adjusted together."""
    named = {each.configuration: (place, each.name) for place, each in enumerate(series)}
    found = [
        (*named[configuration_of(row)], row["shots"], _paired(row))
        for row in rows
        if configuration_of(row) in named
    ]
    found.sort(key=lambda each: each[:3])
    adjusted = adjust_p_values([paired for *_, paired in found])
    return [
        PairwiseComparison(baseline=name, shots=shots, paired=paired)
        for (_, name, shots, _), paired in zip(found, adjusted, strict=True)
    ]


def _paired(row: Row) -> PairedDifference:
    names = ("accuracy_a", "accuracy_b", "low", "high", "wins", "losses", "n_images", "p_value")
    return PairedDifference(
        **{name: row[name] for name in names},
        adjusted_p_value=row["p_value"],
        seed_differences=tuple(row["seed_differences"]),
        same_training_images=row["same_training_images"],
    )


def leaders(series: Sequence[MethodSeries]) -> list[tuple[str, str]]:
    """The series with the highest mean accuracy, and the shots at which each has it; never an oracle."""
    best: dict[tuple[str, ...], list[int]] = defaultdict(list)
    series = [each for each in series if not is_oracle(each.method)]
    for shots in sorted({shots for each in series for shots in each.shots} - {0}):
        means = {
            each.name: mean.value
            for each in series
            for mean in [each.mean("accuracy", shots if each.uses_shots else 0)]
            if mean is not None
        }
        highest = max(means.values())
        best[tuple(name for name, value in means.items() if value == highest)].append(shots)
    return [(listed(names), _at(shots)) for names, shots in best.items()]


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
