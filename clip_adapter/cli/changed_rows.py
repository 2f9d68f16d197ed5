"""Rows of a store that a command writes anew or removes, as a table and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.stored_rows import ChangedRows


def show_changes(console: Console, changed: Sequence[ChangedRows], *, title: str) -> None:
    """Print files, rows and megabytes of each kind."""
    table = Table("kind", title=title, title_justify="left")
    for heading in ("files", "rows", "MB"):
        table.add_column(heading, justify="right")
    for each in changed:
        size = f"{each.size_bytes / 1e6:,.3f}"
        kind = escape_control_characters(each.kind)
        table.add_row(kind, f"{each.n_files:,}", f"{each.n_rows:,}", size)
    console.print(table)


def change_rows(changed: Sequence[ChangedRows]) -> list[dict[str, Any]]:
    """Kind, files, rows and bytes, for JSON."""
    names = {"kind": "kind", "n_files": "files", "n_rows": "rows", "size_bytes": "bytes"}
    return [{name: getattr(each, field) for field, name in names.items()} for each in changed]
