"""The sql command: one question, one answer."""

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
from clip_adapter.printable import printable
from clip_adapter.runs import VIEWS, QueryError, query
from clip_adapter.settings import Settings

__all__ = ["Format", "sql"]


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    question: Annotated[str, typer.Argument(help=f"One SELECT over the views {', '.join(VIEWS)}.")],
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
    answer = query(Settings.of(root=root).location, question, max_seconds=max_seconds)
    # By position: two columns of an answer may have one name.
    names = answer.column_names
    rows = list(zip(*(map(_plain, column.to_pylist()) for column in answer.columns), strict=True))
    if form is Format.JSON:
        _print_json(names, rows)
    elif form is Format.CSV:
        csv.writer(sys.stdout).writerows([names, *rows])
    else:
        _print_table(names, rows)


def _print_json(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    if len(set(names)) < len(names):
        message = f"two columns have one name ({', '.join(names)}): rename one with AS for JSON"
        raise QueryError(message)
    records = [dict(zip(names, row, strict=True)) for row in rows]
    print(json.dumps(records, indent=2, default=str))  # noqa: T201  # rich would wrap it


def _print_table(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    table = Table(caption=f"{len(rows):,} row{'s' if len(rows) != 1 else ''}")
    for place, name in enumerate(names):
        numbers = all(isinstance(row[place], int | float) for row in rows)
        table.add_column(
            Text(printable(name)), justify="right" if numbers else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*[Text(_shown(value)) for value in row])
    Console(highlight=False).print(table)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None  # JSON has no NaN
    return value.hex() if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value), keep="\n")
