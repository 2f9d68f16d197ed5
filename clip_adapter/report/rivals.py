"""CLIP-Adapter against every other method of a board, and what may be said of it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from clip_adapter.report.facts import Board
from clip_adapter.report.lines import Line, reference_line
from clip_adapter.report.numbers import listed, points
from clip_adapter.runs import Comparison, Contestant, IncomparableRunsError, Verdict, compare
from clip_adapter.shots import shots_in_words


@dataclass(frozen=True, kw_only=True)
class Rivalry:
    """The reference against one other line at one number of shots."""

    rival: str
    shots: int
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Rivalries:
    """All of a board's.

    Attributes:
        reference: name of the line that the others are compared with.
        compared: by rival, then shots.
        refused: why others could not be compared, a sentence each.
    """

    reference: str
    compared: tuple[Rivalry, ...]
    refused: tuple[str, ...]


def rivalries(board: Board, lines: Sequence[Line]) -> Rivalries | None:
    """Compare CLIP-Adapter with every other line; None where it was not run."""
    reference = reference_line(lines)
    if reference is None:
        return None
    compared, refused = [], []
    for rival in lines:
        if rival is reference:
            continue
        for shots in reference.shots:
            if shots not in rival.shots and rival.shots != [0]:
                continue
            try:
                compared.append(_rivalry(board, reference, rival, shots))
            except IncomparableRunsError as error:
                refused.append(f"{rival.name} at {shots_in_words(shots)}: {error}")
    return Rivalries(reference=reference.name, compared=tuple(compared), refused=tuple(refused))


def verdicts(found: Rivalries) -> list[tuple[str, str]]:
    """Rival and what the comparisons with it show, in words."""
    by_rival: dict[str, list[Rivalry]] = defaultdict(list)
    for rivalry in found.compared:
        by_rival[rivalry.rival].append(rivalry)
    return [(rival, _in_words(group)) for rival, group in by_rival.items()]


def tally(found: Rivalries) -> str:
    """How many comparisons went which way, and what that rests on."""
    shown = [rivalry.comparison.paired.verdict for rivalry in found.compared]
    return (
        f"ahead in {shown.count('ahead')} of {len(shown)} comparisons and behind in "
        f"{shown.count('behind')}; in {shown.count('seeds disagree')} the seeds disagree, and in "
        f"{shown.count('no difference shown')} no difference is shown. The intervals are over test "
        "images, for these very classifiers: other training images would move both sides"
    )


def leaders(lines: Sequence[Line]) -> list[tuple[str, str]]:
    """The line with the highest mean accuracy, and at which shots it has it."""
    best: dict[str, list[int]] = defaultdict(list)
    for shots in sorted({shots for line in lines for shots in line.shots} - {0}):
        means = {
            line.name: mean.value
            for line in lines
            for mean in [line.mean("test accuracy", 0 if line.shots == [0] else shots)]
            if mean is not None
        }
        best[max(means, key=lambda name: means[name])].append(shots)
    return [(name, _at(shots)) for name, shots in best.items()]


def _rivalry(board: Board, reference: Line, rival: Line, shots: int) -> Rivalry:
    a, b = (contestant_of(board, line, shots) for line in (reference, rival))
    return Rivalry(rival=rival.name, shots=shots, comparison=compare(a, b, board.answers))


def contestant_of(board: Board, line: Line, shots: int) -> Contestant:
    """A line at so many shots, ready to be compared; one that uses none is there at any number."""
    return next(
        each
        for each in board.contestants
        if (each.method, each.settings_fingerprint) == (line.method, line.settings_fingerprint)
        and each.shots in {0, shots}
    )


def _in_words(group: Sequence[Rivalry]) -> str:
    parts = []
    for verdict in get_args(Verdict):
        those = [one for one in group if one.comparison.paired.verdict == verdict]
        if those:
            differences = listed([points(one.comparison.paired.difference) for one in those])
            parts.append(f"{verdict} at {_at([one.shots for one in those])} ({differences})")
    return "; ".join(parts)


def _at(shots: Sequence[int]) -> str:
    if len(shots) == 1:
        return shots_in_words(shots[0])
    return f"{listed([shots_in_words(one).partition(' ')[0] for one in shots])} shots"
