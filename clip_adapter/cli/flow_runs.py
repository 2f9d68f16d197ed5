"""Flow runs as a person reads them: a line each, and below a failed one why, and where to look."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from clip_adapter.printable import printable
from clip_adapter.service import FlowRun

__all__ = ["run_lines"]

FIRST, INDENT = "  runs      ", 12 * " "
OF_EVERY_FAILURE = "Flow run encountered an exception: "
"""Prefect says it before the reason, and takes half of a line."""
LONGEST, LONGEST_STATE = 1_000, 20


def run_lines(runs: Sequence[FlowRun], *, width: int) -> Iterator[str]:
    """The lines about flow runs, shortened to a terminal's width and harmless to it.

    The command that shows a log is never shortened. Times are this machine's.
    """
    if not runs:
        yield f"{FIRST}none yet"
    states = [_shortened(printable(run.state), LONGEST_STATE) for run in runs]
    widest = max((cell_len(state) for state in states), default=0)
    for number, run in enumerate(runs):
        state = set_cell_size(states[number], widest)
        line = f"{run.when.astimezone():%Y-%m-%d %H:%M}  {state}  {printable(run.deployment)}"
        yield _shortened((INDENT if number else FIRST) + line, width)
        if run.has_failed:
            if reason := _reason(run):
                yield _shortened(f"{INDENT}  {reason}", width)
            yield f"{INDENT}  prefect flow-run logs {run.id}"


def _reason(run: FlowRun) -> str:
    """The first line of what the state says."""
    lines = run.message.removeprefix(OF_EVERY_FAILURE).strip().splitlines()
    return printable(lines[0][:LONGEST]) if lines else ""


def _shortened(line: str, width: int) -> str:
    text = Text(line)
    text.truncate(width, overflow="ellipsis")
    return text.plain
