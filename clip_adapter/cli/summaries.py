"""The output of commands: summaries as JSON or text, tables, and progress."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from clip_adapter.escaping import escape_control_characters
from clip_adapter.progress import Advance, bar
from clip_adapter.runs import connect, legend, name_encoders, with_names
from clip_adapter.shots import shots_in_words
from clip_adapter.terminal import plain_console
from feature_cache import Location
from feature_cache.parquet_file import is_final

SAME = "same: all seeds train on the same images, which says nothing about other images"
"""What a table says of the word in place of an interval."""
_LEGIBLE, _NUMBER_WIDTH = 16, 12
"""Least width of the column of names, and the width of a column of numbers, in characters."""
_BOARD = "FROM leaderboard WHERE dataset = $dataset AND encoder = $encoder"


class Score(NamedTuple):
    """A mean over seeds.

    Attributes:
        mean: the mean, a fraction.
        interval: half-width of its 95 % interval (Student's t), if any.
        same_images: whether several seeds train on the same images, which gives no interval.
    """

    mean: float
    interval: float | None = None
    same_images: bool = False


def leaderboard_table(rows: list[dict[str, Any]]) -> Group:
    """Draw rows of `leaderboard_rows`, as `accuracy_table` does.

    A method that ran with several settings, or on several choices of images, has a line for each.
    """
    scores: dict[str, dict[int, Score]] = defaultdict(dict)
    for row in rows:
        name = row["name"]
        if row["shots"] in scores[name]:  # which recent versions do not record
            name = f"{name}, chosen on {row['selected_on']}"
        scores[name][row["shots"]] = Score(
            row["accuracy_mean"],
            row["accuracy_ci95"],
            same_images=row["draws"] == 1 < row["seeds"],
        )
    notes = [
        "mean ± 95 % interval over seeds; no hyper-parameter is chosen on test images, which are read once"
    ]
    if any(row["image_choice"].startswith("budget:") for row in rows):
        notes.append("the shots of a budget are the mean number a class")
    return accuracy_table(
        scores,
        heading="method",
        title=f"{rows[0]['dataset']} with {rows[0]['encoder_name']}: test accuracy, %",
        caption="; ".join([*notes, *legend(scores)]),
    )


def accuracy_table(
    scores: Mapping[str, Mapping[int, Score]], *, heading: str, title: str, caption: str
) -> Group:
    """Names x shots in percent with the half-width of the interval, the best of each column bold.

    Title and caption are as wide as the terminal, however narrow the table is. Where the numbers leave no
    room for a word of the names, there are several tables, each of some numbers of shots.
    """
    shots = sorted({each for row in scores.values() for each in row})
    if any(score.same_images for row in scores.values() for score in row.values()):
        caption += f"; {SAME}"
    name_width = max(_LEGIBLE, *(len(word) for name in scores for word in name.split()))
    at_once = max(1, (plain_console().width - name_width) // _NUMBER_WIDTH)
    n_tables = -(-len(shots) // at_once)
    return Group(
        Text(escape_control_characters(title), style="table.title"),
        *(_table_of_shots(scores, part, heading=heading) for part in _parts(shots, n_tables)),
        Text(caption, style="table.caption"),
    )


def _parts(shots: Sequence[int], n_parts: int) -> list[Sequence[int]]:
    """Consecutive parts of about equal length."""
    bounds = [len(shots) * number // n_parts for number in range(n_parts + 1)]
    return [shots[start:end] for start, end in pairwise(bounds)]


def _table_of_shots(
    scores: Mapping[str, Mapping[int, Score]], shots: Sequence[int], *, heading: str
) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),  # five shots fit into 80 columns
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(Text(heading), overflow="fold")
    for each in shots:
        table.add_column(shots_in_words(each), justify="right", no_wrap=True)
    best = {each: max(row[each].mean for row in scores.values() if each in row) for each in shots}
    for name, row in scores.items():
        cells = [_cell(row.get(each), best[each]) for each in shots]
        table.add_row(Text(escape_control_characters(name)), *cells)
    return table


def _cell(score: Score | None, best: float) -> Text:
    if score is None:
        return Text()
    return Text(percent(score), style="bold" if score.mean == best else "")


def percent(score: Score, *, sign: str = "") -> str:
    """A mean in percent with the half-width of its interval, in at most ten characters.

    >>> percent(Score(0.8431, 0.0124)), percent(Score(0.5)), percent(Score(-0.107, 0.2), sign="+")
    ('84.3 ±1.2', '50.0', '-10.7 ± 20')
    >>> percent(Score(0.9, same_images=True))
    '90.0 same'
    """
    text = f"{100 * score.mean:{sign}.1f}"
    if score.same_images:
        return f"{text} same"
    if score.interval is not None:  # three characters: from ten points on without a decimal
        text += f" ±{100 * score.interval:3.{int(score.interval < 0.0995)}f}"
    return text


def text_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str,
    caption: str,
    n_words: int = 1,
) -> Group:
    """Rows of text under a title; the first `n_words` columns have words and the others numbers."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    # Rows are told apart by their words: of these only the longest are folded where there is no room.
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(n_words)]
    for place, name in enumerate(header):
        is_number = place >= n_words
        table.add_column(
            Text(name),
            overflow="fold",
            justify="right" if is_number else "left",
            no_wrap=not is_number and place != widths.index(max(widths)),
        )
    for row in rows:
        table.add_row(*(Text(escape_control_characters(cell)) for cell in row))
    return Group(
        Text(escape_control_characters(title), style="table.title"),
        table,
        Text(caption, style="table.caption"),
    )


def watch(
    description: str, *, total: float, unit: str, quiet: bool = False
) -> AbstractContextManager[Advance]:
    """Show rate and remaining time on standard error, if it is a terminal.

    Args:
        description: name of the work.
        total: number of units of work.
        unit: name of a unit.
        quiet: show nothing, for output that a program reads.
    """
    console = plain_console(stderr=True)
    if quiet or not console.is_terminal:
        return nullcontext(lambda _: None)
    return bar(description, total=total, unit=unit, console=console, transient=True)


def extraction_summary(encoded: Any) -> dict[str, Any]:
    """Numbers of an extraction, as JSON has them."""
    dataset = encoded.dataset
    return {
        "dataset": dataset.name,
        "model": encoded.model,
        "encoder": encoded.encoder,
        "images": dataset.n_images,
        "encoded": encoded.n_encoded,
        "reused": encoded.n_reused,
        "prompts_encoded": encoded.n_prompts_encoded,
        "quarantined": dataset.n_quarantined,
        "excluded": dict(dataset.excluded),
        "leaked": dataset.n_leaked,
        "seconds": round(encoded.seconds, 3),
        "images_per_second": round(encoded.images_per_second, 1),
        "notes": list(encoded.notes),
        "missing": encoded.n_missing,
    }


def training_summary(trained: Any) -> dict[str, Any]:
    """Numbers of a training, as JSON has them."""
    return {
        **extraction_summary(trained.encoded),
        "sweep_id": trained.runs.sweep_id,
        "runs_trained": trained.runs.n_trained,
        "runs_on_record": trained.runs.n_reused,
        "seconds_train": round(trained.runs.seconds, 3),
        "up_to_date": trained.is_up_to_date,
        "promotion": trained.promotion and asdict(trained.promotion.record),
        "promotion_is_new": trained.promotion and trained.promotion.is_new,
        "promotion_summary": trained.promotion and trained.promotion.summary,
    }


def leaderboard_rows(root: Location, *, dataset: str, encoder: str) -> list[dict[str, Any]]:
    """The leaderboard of one dataset and encoder, with a `name` that tells its rows apart in words."""
    with connect(root) as database:
        found = database.query(_BOARD, {"dataset": dataset, "encoder": encoder}).to_pylist()
        encoder_name = name_encoders(database).get(encoder)
        rows = with_names(database, found)
    return [{**row, "encoder_name": encoder_name} for row in rows]


def stored_files(root: Path) -> list[Path]:
    """The files of a local store, folder by folder; other files below the root are left out."""
    tops = [root / name for name in ("datasets", "features", "runs")]
    folders = sorted(folder for top in tops for folder in top.glob("**/"))
    return [path for folder in folders for path in sorted(folder.iterdir()) if is_final(path.name)]


def print_json(value: Any) -> None:
    """Print JSON on standard output."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201  # rich would wrap it


def show_extraction(console: Console, summary: dict[str, Any]) -> None:
    """Print how many images were encoded, reused and quarantined."""
    rate = f" ({summary['images_per_second']:,.0f} images/s)" if summary["encoded"] else ""
    console.print(
        f"[bold]{summary['encoded']:,} images encoded[/bold]{rate}, {summary['reused']:,} reused, "
        f"{summary['prompts_encoded']} prompts encoded, {summary['quarantined']} quarantined",
        markup=True,
        soft_wrap=True,
    )
    if excluded := summary["excluded"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in excluded.items())
        console.print(f"{sum(excluded.values()):,} files not used: {reasons}", soft_wrap=True)
    if missing := summary["missing"]:
        console.print(
            f"{missing:,} images and prompts are left to other parts; `clip-adapter extract` without "
            "--part encodes whatever is missing",
            soft_wrap=True,
        )
    if summary["leaked"]:
        console.print(
            f"[yellow]leak:[/yellow] {summary['leaked']} images occur in both train and test",
            markup=True,
        )


def show_leaderboard(console: Console, rows: list[dict[str, Any]]) -> None:
    """Print the leaderboard, unless it is empty."""
    if rows:
        console.print()
        console.print(leaderboard_table(rows))


def show_promotion(console: Console, summary: dict[str, Any]) -> None:
    """Print the decision about the champion, if there is one, and how to use what was refused."""
    promotion = summary["promotion"]
    if not promotion:
        return
    who = f"{promotion['method']} at {shots_in_words(promotion['shots'])}, seed {promotion['seed']}"
    made = f"{promotion['decision']}: {who}; {promotion['reason']}"
    said = made if summary["promotion_is_new"] else summary["promotion_summary"]
    console.print()
    console.print(escape_control_characters(said), soft_wrap=True)
    if promotion["decision"] == "refused":
        run = f"run:{promotion['run_id'][:12]}"
        console.print(f"to use it all the same: clip-adapter predict {run} IMAGES", soft_wrap=True)
