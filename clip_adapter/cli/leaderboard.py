"""Accuracies as a person reads them: a name a line, a number of shots a column."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from clip_adapter.printable import printable
from clip_adapter.runs import with_settings
from clip_adapter.shots import shots_in_words

Score = tuple[float, float | None]
"""A mean over seeds, a fraction, and the half-width of its 95 % interval (Student's t), if any."""


def leaderboard_table(rows: list[dict[str, Any]]) -> Group:
    """Draw the `leaderboard` rows of one dataset and model, as `accuracy_table` does.

    A method that ran with several settings has a line for each, under the name by which `compare`
    knows it.
    """
    lines = dict.fromkeys((row["method"], row["settings_fingerprint"]) for row in rows)
    times = Counter(method for method, _ in lines)
    scores: dict[str, dict[int, Score]] = defaultdict(dict)
    for row in rows:
        method, settings = row["method"], row["settings_fingerprint"]
        name = method if times[method] == 1 else with_settings(method, settings)
        scores[name][row["shots"]] = row["accuracy_mean"], row["accuracy_ci95"]
    return accuracy_table(
        scores,
        heading="method",
        title=f"{rows[0]['dataset']} with {rows[0]['model']}: test accuracy, %",
        caption="mean ± 95 % interval over seeds; hyper-parameters chosen on validation images, "
        "the test split read once",
    )


def accuracy_table(
    scores: Mapping[str, Mapping[int, Score]], *, heading: str, title: str, caption: str
) -> Group:
    """Names x shots in percent, the half-width of the interval after the sign.

    Best of each column in bold. Title and caption are as wide as the terminal, however narrow the
    table is.
    """
    shots = sorted({each for row in scores.values() for each in row})
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # five shots fit into 80 columns
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(Text(heading), overflow="fold")
    for each in shots:
        table.add_column(shots_in_words(each), justify="right", no_wrap=True)
    best = {each: max(row[each][0] for row in scores.values() if each in row) for each in shots}
    for name, row in scores.items():
        cells = [_cell(row.get(each), best[each]) for each in shots]
        table.add_row(Text(printable(name)), *cells)
    return Group(
        Text(printable(title), style="table.title"), table, Text(caption, style="table.caption")
    )


def _cell(score: Score | None, best: float) -> str:
    if score is None:
        return ""
    mean, interval = score
    text = f"{100 * mean:.1f}"
    if interval is not None:  # three places: beyond ten points no decimal is worth one
        text += f" ±{100 * interval:3.{int(interval < 0.0995)}f}"
    return f"[bold]{text}[/bold]" if mean == best else text
