"""The sql command: the result of one query as a table, CSV or JSON."""

import csv
import json
import math
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.options import Root
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import RunStoreError, query, view_names
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console

LEGIBLE = 12
"""Width of a column in characters below which long words become illegible."""


class Format(StrEnum):
    """Formats of a result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    question: Annotated[
        str, typer.Argument(help=f"One SELECT over the views {', '.join(view_names())}.")
    ],
    form: Annotated[
        Format, typer.Option("--format", help="How to write the answer.")
    ] = Format.TABLE,
    max_seconds: Annotated[
        float | None,
        typer.Option(min=0.01, help="Give up after so many seconds.", show_default=False),
    ] = None,
    root: Root = None,
) -> None:
    """Ask DuckDB about runs, metrics and predictions; nothing is locked or written."""
    result = query(Settings.of(root=root).location, question, max_seconds=max_seconds)
    # By position: two columns of a result may have one name.
    names = result.column_names
    rows = list(zip(*(map(_plain, column.to_pylist()) for column in result.columns), strict=True))
    if form is Format.JSON:
        _print_json(names, rows)
    elif form is Format.CSV:
        csv.writer(sys.stdout).writerows([names, *rows])
    else:
        shown = [[_shown(value) for value in row] for row in rows]
        console = plain_console()
        if _fits(console.width, names, shown):
            _print_table(console, names, shown, are_numbers=_are_numbers(rows, len(names)))
        else:
            _print_blocks(console, names, shown)


def _print_json(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    if len(set(names)) < len(names):
        message = f"two columns have one name ({', '.join(names)}): rename one with AS for JSON"
        raise RunStoreError(message)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    print(json.dumps(records, indent=2, default=str))  # noqa: T201  # rich would wrap it


def _fits(width: int, names: list[str], shown: list[list[str]]) -> bool:
    """Whether a table fits the terminal without folding words into slivers."""
    columns = zip(names, *shown, strict=True)
    wanted = [max(len(text) for text in column) for column in columns]
    return sum(min(each, LEGIBLE) + 3 for each in wanted) < width


def _print_table(
    console: Console, names: list[str], shown: list[list[str]], *, are_numbers: list[bool]
) -> None:
    table = Table(caption=_count(shown))
    for name, numbers in zip(names, are_numbers, strict=True):
        table.add_column(
            Text(escape_control_characters(name)),
            justify="right" if numbers else "left",
            overflow="fold",
        )
    for row in shown:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_blocks(console: Console, names: list[str], shown: list[list[str]]) -> None:
    """Print each row as a block with one line for each column."""
    for number, row in enumerate(shown, start=1):
        block = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
        for name, text in zip(names, row, strict=True):
            block.add_row(
                Text(escape_control_characters(name), style="bold"), Text(text, overflow="fold")
            )
        console.rule(f"row {number:,}", align="left")
        console.print(block)
    if not shown:
        console.print(Text(escape_control_characters(", ".join(names)), style="bold"))
    console.print(_count(shown), style="italic")


def _are_numbers(rows: list[tuple[Any, ...]], width: int) -> list[bool]:
    """Whether every value is a number, for each column."""
    return [all(isinstance(row[place], int | float) for row in rows) for place in range(width)]


def _count(shown: list[list[str]]) -> str:
    return f"{len(shown):,} row{'s' if len(shown) != 1 else ''}"


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None  # JSON has no NaN
    return value.hex() if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else escape_control_characters(str(value), keep="\n")
    )
