"""The predict command: classes of images as a table, CSV, JSON or Parquet."""

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.requests import from_options
from clip_adapter.cli.table_files import (
    Format,
    FormatOption,
    OutputOption,
    OverwriteOption,
    checked_target,
    chosen_format,
    write_rows,
)
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.image_inputs import LIST
from clip_adapter.pipeline.requests import PredictRequest
from clip_adapter.terminal import plain_console

MOST_NAMES = 10
"""Largest number of classes of a prediction set in a table for people."""


@from_options(PredictRequest)
def predict(
    request: PredictRequest,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Classify images with a trained classifier, through the feature cache.

    One row an image, in the order given; an unreadable one is a row with the reason, and so is a
    damaged archive after its images. Exit code 1 if none could be read or an archive is damaged.

    Features are kept in the store, so that no image is encoded twice; `cache gc --unreferenced`
    drops those of images that no dataset has.
    """
    chosen = chosen_format(form, output)
    target = checked_target(output, overwrite=overwrite)
    from clip_adapter.pipeline.predict import Prediction  # noqa: PLC0415  # imports what computes

    if LIST in request.names and sys.stdin is None:
        raise ParameterError(
            "the input - stands for standard input, which is closed: name the images"
        )
    listed = _names(sys.stdin.buffer.read()) if LIST in request.names else []
    prediction = Prediction(request, listed=listed)
    done: list[pa.Table] = []

    def tables() -> Iterator[pa.Table]:
        for table in prediction.tables():
            done.append(table)
            yield table

    if chosen is Format.TABLE:
        _print_table(tables())
    else:
        write_rows(tables(), chosen, target, overwrite=overwrite)
    result = prediction.result(pa.concat_tables(done))
    _say(result.summary, target)
    if result.n_damaged or result.n_unreadable == result.n_images:
        raise typer.Exit(1)


def _names(content: bytes) -> list[str]:
    r"""The paths of a list: one a line, or ended by NUL bytes as `find -print0` writes them.

    >>> _names(b"a.jpg\r\n\nb\x0b.jpg"), _names(b"a\nb.jpg\0c.jpg\0")
    (['a.jpg', 'b\x0b.jpg'], ['a\nb.jpg', 'c.jpg'])
    """
    if b"\0" in content:
        names = content.split(b"\0")
    else:
        names = [line.removesuffix(b"\r") for line in content.split(b"\n")]
    return [os.fsdecode(name) for name in names if name]


def _print_table(tables: Iterable[pa.Table]) -> None:
    """Print a table whose row of three classes and a short path fits in 80 columns."""
    whole = pa.concat_tables(tables)
    has_errors = whole["error"].null_count < len(whole)
    shown = whole if has_errors else whole.drop_columns(["error"])
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name in shown.column_names:
        if name.startswith("confidence"):
            drawn.add_column("conf.", justify="right", no_wrap=True)
        else:
            drawn.add_column(_heading(name), overflow="fold")
    for row in shown.to_pylist():
        drawn.add_row(*map(_text, row.values()))
    plain_console().print(drawn)


def _heading(column: str) -> str:
    """The heading of a column that holds words.

    >>> [_heading(name) for name in ("path", "predicted", "predicted_2", "prediction_set")]
    ['path', 'class', '2nd', 'one of']
    """
    if column == "prediction_set":
        return "one of"
    name, _, rank = column.partition("_")
    if name != "predicted":
        return column
    if not rank:
        return "class"
    ends = {"1": "st", "2": "nd", "3": "rd"}
    return rank + ("th" if rank[-2:-1] == "1" else ends.get(rank[-1], "th"))


def _text(value: Any) -> Text:
    if isinstance(value, float):
        return Text(f"{value:.1%}")
    if isinstance(value, list):
        n_more = len(value) - MOST_NAMES
        more = [f"{n_more:,} more"] if n_more > 0 else []
        shown = ", ".join([*value[:MOST_NAMES], *more]) or "none of these"
        return Text(escape_control_characters(shown))
    return Text("" if value is None else escape_control_characters(value))


def _say(summary: str, output: Path | None) -> None:
    written = f"; written to {output}" if output else ""
    shown = escape_control_characters(f"{summary}{written}")
    plain_console(stderr=True).print(shown, soft_wrap=True)
