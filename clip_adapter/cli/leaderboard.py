"""The leaderboard as a person reads it: a method a line, a number of shots a column."""

from collections import Counter
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from clip_adapter.runs import with_settings
from clip_adapter.shots import shots_in_words

__all__ = ["leaderboard_table"]


def leaderboard_table(rows: list[dict[str, Any]]) -> Table:
    """Draw the `leaderboard` rows of one dataset and model; best of each column in bold.

    Cells are percent: the mean over seeds, and after the sign the half-width of its 95 %
    interval (Student's t). A method that ran with several settings has a line for each, under the
    name by which `compare` knows it.
    """
    shots = sorted({row["shots"] for row in rows})
    table = Table(
        title=escape(f"{rows[0]['dataset']} with {rows[0]['model']}: test accuracy, %"),
        caption=(
            "mean ± 95 % interval over seeds; hyper-parameters chosen on validation "
            "images, the test split read once"
        ),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # five shots fit into 80 columns
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("method", no_wrap=True)
    for shot in shots:
        table.add_column(shots_in_words(shot), justify="right", no_wrap=True)
    cells = {(row["method"], row["settings_fingerprint"], row["shots"]): row for row in rows}
    best = {shot: max(r["accuracy_mean"] for r in rows if r["shots"] == shot) for shot in shots}
    lines = list(dict.fromkeys((row["method"], row["settings_fingerprint"]) for row in rows))
    times = Counter(method for method, _ in lines)
    for method, settings in lines:
        name = method if times[method] == 1 else with_settings(method, settings)
        table.add_row(
            name, *[_cell(cells.get((method, settings, shot)), best[shot]) for shot in shots]
        )
    return table


def _cell(row: dict[str, Any] | None, best: float) -> str:
    if row is None:
        return ""
    mean, interval = row["accuracy_mean"], row["accuracy_ci95"]
    text = f"{100 * mean:.1f}"
    if interval is not None:  # three places: beyond ten points no decimal is worth one
        text += f" ±{100 * interval:3.{int(interval < 0.0995)}f}"
    return f"[bold]{text}[/bold]" if mean == best else text
