"""Every method of a board against zero-shot, on the same test images."""

from collections.abc import Sequence

from markupsafe import Markup

from clip_adapter.report.facts import Board
from clip_adapter.report.lines import Line
from clip_adapter.report.numbers import points
from clip_adapter.report.rivals import contestant_of
from clip_adapter.report.tables import Table, by_shots
from clip_adapter.runs import IncomparableRunsError, compare

__all__ = ["against_zero_shot"]

ZERO_SHOT = "zero-shot"


def against_zero_shot(board: Board, lines: Sequence[Line]) -> Table | None:
    """Methods x shots: the difference in points with its interval; bold where it is shown.

    None where zero-shot was not run, or nothing else was. Of several settings of zero-shot the one
    that ran last counts.
    """
    known = [line for line in lines if line.method == ZERO_SHOT]
    others = [line for line in lines if line.method != ZERO_SHOT]
    if not known or not others:
        return None
    reference = max(known, key=lambda line: max(run.recency for run in line.runs))
    return by_shots(others, lambda line, shots: _cell(board, line, reference, shots=shots))


def _cell(board: Board, line: Line, reference: Line, *, shots: int) -> str:
    if shots not in line.shots:
        return ""
    ours, theirs = contestant_of(board, line, shots), contestant_of(board, reference, 0)
    try:
        paired = compare(ours, theirs, board.answers).paired
    except IncomparableRunsError:
        return "not comparable"
    text = f"{points(paired.difference)} ({points(paired.low)} to {points(paired.high)})"
    shown = paired.verdict in {"ahead", "behind"}
    return Markup("**{}**").format(text) if shown else text
