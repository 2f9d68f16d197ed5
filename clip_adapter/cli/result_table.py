"""Rows as a table on a terminal: as wide as it is, every value whole."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.table_files import Rows, are_numbers, rows_of, text_of
from clip_adapter.escaping import escape_control_characters

ROWS_AT_ONCE = 1_000
"""Rows that are laid out together; the next ones get a heading of their own."""
GAP = 2
"""Columns of the terminal between two columns of a table; one of them is its divider."""
LARGE, LARGEST = 1e4, 1e15
"""Numbers between them are shown as whole ones, others with four digits."""


def print_rows(tables: Iterable[Rows], console: Console) -> None:
    """Print a table, or a block of lines for each row where the columns do not fit.

    No value is cut, and no word of one is broken: a path or a digest can be copied.

    Args:
        tables: at least one table or batch, all with the same columns.
        console: where to print; its width is that of the table.
    """
    n_rows = 0
    for number, table in enumerate(tables):
        names = [escape_control_characters(name) for name in table.schema.names]
        for rows in _in_parts(table):
            if rows or number == 0:
                _print(names, rows, console, are_numbers=are_numbers(table), first=n_rows)
            n_rows += len(rows)
    console.print(count_of_rows(n_rows), style="italic")


def count_of_rows(count: int) -> str:
    """A number of rows in words."""
    return f"{count:,} row{'s' if count != 1 else ''}"


def _in_parts(table: Rows) -> Iterator[list[list[str]]]:
    for start in range(0, max(1, table.num_rows), ROWS_AT_ONCE):
        part = table.slice(start, ROWS_AT_ONCE)
        yield [[shown(value) for value in row] for row in rows_of(part)]


def _print(
    names: list[str],
    rows: list[list[str]],
    console: Console,
    *,
    are_numbers: Sequence[bool],
    first: int,
) -> None:
    columns = [*zip(names, *rows, strict=True)]
    narrowest = [max(map(_widest_word, texts)) for texts in columns]
    spare = console.width - sum(narrowest) - GAP * (len(names) - 1)
    if spare < 0:
        for number, row in enumerate(rows, start=first + 1):
            _print_block(names, row, console, number=number)
        if not rows:
            console.print(", ".join(names), style="bold", soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    wanted = [max(map(_widest_line, texts)) for texts in columns]
    widths = _widened(narrowest, wanted, spare)
    for name, is_number, width in zip(names, are_numbers, widths, strict=True):
        table.add_column(Text(name), justify="right" if is_number else "left", width=width)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _widened(narrowest: list[int], wanted: list[int], spare: int) -> list[int]:
    """Widths with the spare ones given to the columns that want more, the modest first.

    >>> _widened([5, 5, 5], [6, 100, 100], 11)
    [6, 10, 10]
    """
    widths = list(narrowest)
    by_want = sorted(range(len(widths)), key=lambda place: wanted[place] - narrowest[place])
    for n_left, place in zip(range(len(widths), 0, -1), by_want, strict=True):
        more = min(wanted[place] - narrowest[place], spare // n_left)
        widths[place] += more
        spare -= more
    return widths


def _print_block(names: list[str], row: list[str], console: Console, *, number: int) -> None:
    """Print a row as lines of a name and a value; a long value is left to the terminal to wrap."""
    width = max(map(cell_len, names))
    console.rule(f"row {number:,}", align="left")
    for name, text in zip(names, row, strict=True):
        lines = text.split("\n")
        padding = " " * (width - cell_len(name) + GAP)
        console.print(
            Text.assemble((name, "bold"), padding, f"\n{' ' * (width + GAP)}".join(lines)),
            soft_wrap=True,
        )


def _widest_word(text: str) -> int:
    if "/" in text:  # a path may have spaces
        return _widest_line(text)
    return max((cell_len(word) for word in text.split()), default=0)


def _widest_line(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def shown(value: Any) -> str:
    """A value as text for a terminal; nothing for null."""
    if isinstance(value, float):
        return f"{value:.0f}" if LARGE <= abs(value) < LARGEST else f"{value:.4g}"
    return escape_control_characters(text_of(value), keep="\n")
