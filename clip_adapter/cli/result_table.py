"""Rows as a table on a terminal: as wide as it is, every value whole."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.table_files import Rows, are_numbers, rows_of, text_of
from clip_adapter.escaping import escape_control_characters

ROWS_AT_ONCE = 1_000
"""Rows that are printed together."""
ROWS_OF_WIDTHS, BYTES_OF_WIDTHS = 10_000, 4_000_000
"""Rows and bytes of the first rows, which decide the widths of the columns; later rows keep them."""
GAP = 2
"""Columns of the terminal between two columns of a table; one of them is its divider."""
LARGE, LARGEST = 1e4, 1e15
"""Numbers between them are shown as whole ones, others with four digits."""


def print_rows(tables: Iterable[Rows], console: Console) -> None:
    """Print one table, or a block of lines for each row where the columns do not fit.

    No value is cut, and no word of one is broken: a path or a digest can be copied. The first rows decide
    the widths. Where a later one has a longer word, columns become wider from there, and where there is no
    room for it, the rows become blocks.

    Args:
        tables: at least one table or batch, all with the same columns.
        console: where to print; its width is that of the table.
    """
    stream = iter(tables)
    first = next(stream)
    names = [escape_control_characters(name) for name in first.schema.names]
    numbers = are_numbers(first)
    n_rows = 0
    widths: list[int] | None = None
    for number, part in enumerate(_in_parts(chain([first], stream))):
        if number == 0:
            widths = _widths(names, part, available=console.width)
        elif widths is not None:
            widths = _kept_widths(widths, part, available=console.width)
        for start in range(0, max(1, len(part)), ROWS_AT_ONCE):
            rows = part[start : start + ROWS_AT_ONCE]
            if widths is None:
                _print_blocks(names, rows, console, first=n_rows + 1)
            else:
                heading = n_rows == 0
                _print_lines(names, rows, console, widths, are_numbers=numbers, heading=heading)
            n_rows += len(rows)
    console.print(count_of_rows(n_rows), style="italic")


def count_of_rows(count: int) -> str:
    """A number of rows in words."""
    return f"{count:,} row{'s' if count != 1 else ''}"


def _in_parts(tables: Iterable[Rows]) -> Iterator[list[list[str]]]:
    """The rows as text: at first those that decide the widths, then fewer at once."""
    held: list[list[str]] = []
    n_bytes, is_first = 0, True
    for table in tables:
        for start in range(0, table.num_rows, ROWS_AT_ONCE):
            part = table.slice(start, ROWS_AT_ONCE)
            held += [[shown(value) for value in row] for row in rows_of(part)]
            n_bytes += part.nbytes
            if not is_first or len(held) >= ROWS_OF_WIDTHS or n_bytes >= BYTES_OF_WIDTHS:
                yield held
                held, is_first = [], False
    if held or is_first:
        yield held


def _widths(names: list[str], rows: list[list[str]], *, available: int) -> list[int] | None:
    """Widths in which no word is broken; None where there is no room for them."""
    columns = [*zip(names, *rows, strict=True)]
    narrowest = [max(map(_widest_word, texts)) for texts in columns]
    spare = available - _total(narrowest)
    wanted = [max(map(_widest_line, texts)) for texts in columns]
    return _widened(narrowest, wanted, spare) if spare >= 0 else None


def _kept_widths(widths: list[int], rows: list[list[str]], *, available: int) -> list[int] | None:
    """Widths of earlier rows, wider only for words that would be broken; None where there is no room."""
    columns = zip(widths, zip(*rows, strict=True), strict=True)
    kept = [max(width, *map(_widest_word, texts)) for width, texts in columns]
    return kept if _total(kept) <= available else None


def _total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _print_lines(
    names: list[str],
    rows: list[list[str]],
    console: Console,
    widths: list[int],
    *,
    are_numbers: Sequence[bool],
    heading: bool,
) -> None:
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        show_header=heading,
        pad_edge=False,
        padding=(0, GAP - 1, 0, 0),
    )
    for name, is_number, width in zip(names, are_numbers, widths, strict=True):
        table.add_column(Text(name), justify="right" if is_number else "left", width=width)
    for row in rows:
        table.add_row(*map(_wrapped, row, widths))
    console.print(table)


def _wrapped(text: str, width: int) -> Text:
    """Text in lines of at most that width, broken between words.

    Rich would break them too, but keeps the space behind a word of wide letters, and then cuts the line.
    """
    lines = []
    for line in map(str.rstrip, text.split("\n")):
        rest = line
        while cell_len(rest) > width:
            ends = [
                place for place, letter in enumerate(rest) if letter == " " and rest[:place].strip()
            ]
            fitting = [place for place in ends if cell_len(rest[:place].rstrip()) <= width]
            if not fitting:
                break
            lines.append(rest[: fitting[-1]].rstrip())
            rest = rest[fitting[-1] :].lstrip()
        lines.append(rest)
    return Text("\n".join(lines), no_wrap=True)


def _print_blocks(names: list[str], rows: list[list[str]], console: Console, *, first: int) -> None:
    """Print each row as lines of a name and a value; the names alone where there is no row."""
    for number, row in enumerate(rows, start=first):
        _print_block(names, row, console, number=number)
    if not rows:
        console.print(", ".join(names), style="bold", soft_wrap=True)


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
    return max((cell_len(word) for line in text.split("\n") for word in _words(line)), default=0)


def _words(line: str) -> list[str]:
    """The words of a line as a terminal breaks it: the space before the first stays with it.

    >>> _words("  a bc ")
    ['  a', 'bc']
    """
    first, *others = line.split() or [""]
    return [line[: line.find(first) + len(first)], *others]


def _widest_line(text: str) -> int:
    return max((cell_len(line.rstrip()) for line in text.split("\n")), default=0)


def shown(value: Any) -> str:
    """A value as text for a terminal; nothing for null."""
    if isinstance(value, float):
        return f"{value:.0f}" if LARGE <= abs(value) < LARGEST else f"{value:.4g}"
    return escape_control_characters(text_of(value), keep="\n")
