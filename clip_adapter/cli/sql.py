"""The sql command: one question, one answer."""

import csv
import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.options import Root
from clip_adapter.runs import VIEWS, query
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
        float | None, typer.Option(help="Give up after so many seconds.", show_default=False)
    ] = None,
    root: Root = None,
) -> None:
    """Ask DuckDB about runs, metrics and predictions; nothing is locked or written."""
    answer = query(Settings.of(root=root).absolute_root, question, max_seconds=max_seconds)
    rows = [{name: _plain(value) for name, value in row.items()} for row in answer.to_pylist()]
    if form is Format.JSON:
        print(json.dumps(rows, indent=2, default=str))  # noqa: T201  # rich would wrap it
    elif form is Format.CSV:
        writer = csv.DictWriter(sys.stdout, answer.column_names)
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_table(answer.column_names, rows)


def _print_table(names: list[str], rows: list[dict[str, Any]]) -> None:
    table = Table(caption=f"{len(rows):,} row{'s' if len(rows) != 1 else ''}")
    for name in names:
        numbers = all(isinstance(row[name], int | float) for row in rows)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*[Text(_shown(value)) for value in row.values()])
    Console(highlight=False).print(table)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
