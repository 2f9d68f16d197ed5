"""Tables of rows as the commands write them: to a file, or to standard output."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from enum import StrEnum
from itertools import chain
from pathlib import Path
from textwrap import indent
from typing import IO, Annotated, Any, TypeAlias

import pyarrow as pa
import typer

from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.escaping import escape_control_characters, escape_markdown
from feature_cache.exchange.atomic_write import check_absent, new_file

Rows: TypeAlias = pa.Table | pa.RecordBatch


class Format(StrEnum):
    """Formats of rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    MARKDOWN = "markdown"
    PARQUET = "parquet"


def format_of(text: str) -> Format:
    """The format of a name; md is markdown, as at the end of the name of a file.

    Raises:
        typer.BadParameter: there is no format of this name.
    """
    name = "markdown" if text == "md" else text
    if name not in {*Format}:
        raise typer.BadParameter(str(UnknownNameError("format", text, map(str, Format))))
    return Format(name)


FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        parser=format_of,
        metavar=f"[{'|'.join(Format)}]",
        help="How to write the rows; else by the name of --output, else a table.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the rows to this file: .csv, .json, .jsonl, .md or .parquet.",
        show_default=False,
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Let --output replace a file.")]
_SUFFIXES = {
    ".csv": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".md": Format.MARKDOWN,
    ".parquet": Format.PARQUET,
}


def chosen_format(form: Format | None, output: Path | None) -> Format:
    """The format that is given, else that of the file's name, else the table.

    Args:
        form: the format that is given, if any.
        output: the file to write; None for standard output.

    Raises:
        ParameterError: the name of the file tells no format, or the format cannot be written there.
    """
    if output is None:
        if form is Format.PARQUET:
            raise ParameterError("Parquet is written to a file: name it with --output FILE.parquet")
        return form or Format.TABLE
    chosen = form or _SUFFIXES.get(output.suffix.casefold())
    if chosen is None or chosen is Format.TABLE:
        raise ParameterError(
            f"{output.name!r:.80} names no format: expected a file that ends in .csv, .json, .jsonl, .md or "
            ".parquet, or --format csv, json, jsonl, markdown or parquet"
        )
    return chosen


def checked_target(path: Path | None, *, overwrite: bool) -> Path | None:
    """The absolute path of a file to write, or None for None.

    Raises:
        InvalidInputError: the file exists and may not be replaced.
    """
    if path is None:
        return None
    target = path.expanduser().resolve()
    check_absent(target, overwrite=overwrite)
    return target


def write_rows(
    tables: Iterable[Rows], form: Format, output: Path | None, *, overwrite: bool
) -> None:
    """Write the rows of tables, each as it comes; a file is written completely or not at all.

    On a terminal, control characters are escaped; files and pipes get the text as it is. Markdown is text
    for people, in which they are always escaped. A list or a struct is JSON in the other formats of text,
    and bytes are hexadecimal; JSON has null for a number that is not finite.

    Args:
        tables: at least one table or batch, all with the same columns. But for Parquet, the types are
            those that Python has: no date beyond the year 9999, no interval.
        form: any format but the table, and Parquet to a file alone.
        output: the file to write; None for standard output.
        overwrite: replace a file that exists.

    Raises:
        InvalidInputError: the file exists and may not be replaced.
        ParameterError: two columns have one name, which JSON and Parquet cannot have.
        OSError: the disk is full or fails, or the reader of a pipe is gone.
    """
    if output is not None:
        with new_file(output, overwrite=overwrite) as file:
            _WRITERS[form](tables, file, escape=False)
        return
    sys.stdout.flush()
    _WRITERS[form](tables, sys.stdout.buffer, escape=sys.stdout.isatty())
    sys.stdout.buffer.flush()


def rows_of(table: Rows) -> Iterator[tuple[Any, ...]]:
    """The rows as tuples, since two columns may have one name; bytes as hexadecimal text."""
    return zip(*map(_values, table.columns), strict=True)


def are_numbers(table: Rows) -> list[bool]:
    """Whether a column holds numbers, for each column."""
    return [
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        for kind in table.schema.types
    ]


def json_value(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, dict):
        return {name: json_value(each) for name, each in value.items()}
    if isinstance(value, list):
        return [json_value(each) for each in value]
    return value if value is None or isinstance(value, str | int) else str(value)


def _values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_nested(kind):
        # A map is an object; its keys are text wherever the rows come from SQL.
        return [json_value(value) for value in column.to_pylist(maps_as_pydicts="lossy")]
    values: list[Any] = column.to_pylist()
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [None if value is None else value.hex() for value in values]
    return values


def _write_csv(tables: Iterable[Rows], file: IO[bytes], *, escape: bool) -> None:
    for number, table in enumerate(tables):
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        lines: Iterable[Any] = chain([table.schema.names] if number == 0 else [], _csv_rows(table))
        if escape:
            lines = (
                [escape_control_characters(text_of(value)) for value in line] for line in lines
            )
        writer.writerows(lines)
        _write(text.getvalue(), file)


def _csv_rows(table: Rows) -> Iterator[tuple[Any, ...]]:
    """Rows of values that `csv` writes as `text_of` does."""
    columns = (
        map(text_of, _values(column)) if pa.types.is_nested(column.type) else _values(column)
        for column in table.columns
    )
    return zip(*columns, strict=True)


def text_of(value: Any) -> str:
    """A value of `rows_of` as text, a list or struct as JSON; nothing for null."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


def _write_json(tables: Iterable[Rows], file: IO[bytes], *, escape: bool) -> None:
    separator = "[\n"
    for table in tables:
        for record in _records(table):
            text = _json_text(record, escape=escape, spaces=2)
            file.write(f"{separator}{indent(text, '  ')}".encode())
            separator = ",\n"
        file.flush()
    _write("[]\n" if separator == "[\n" else "\n]\n", file)


def _write_jsonl(tables: Iterable[Rows], file: IO[bytes], *, escape: bool) -> None:
    for table in tables:
        lines = (_json_text(record, escape=escape) for record in _records(table))
        _write("".join(f"{line}\n" for line in lines), file)


def _records(table: Rows) -> Iterator[dict[str, Any]]:
    names = _different(table)
    for row in zip(*map(_json_values, table.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def _json_values(column: pa.Array) -> list[Any]:
    kind, values = column.type, _values(column)
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_nested(kind):
        return values  # as JSON has them already
    return [json_value(value) for value in values]


def _different(table: Rows) -> list[str]:
    """The names of the columns.

    Raises:
        ParameterError: two are the same.
    """
    names: list[str] = table.schema.names
    if len(set(names)) < len(names):
        raise ParameterError(
            f"two columns have one name ({', '.join(names)}): rename one with AS, or write CSV"
        )
    return names


def _json_text(value: Any, *, escape: bool, spaces: int | None = None) -> str:
    """JSON without a line end; what is escaped is JSON of the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=spaces)
    if escape and not text.isprintable():
        text = "".join(
            character
            if character.isprintable() or character == "\n"
            else json.dumps(character)[1:-1]
            for character in text
        )
    return text


def _write_markdown(tables: Iterable[Rows], file: IO[bytes], *, escape: bool) -> None:
    del escape  # all of it is, for people read it
    for number, table in enumerate(tables):
        lines = [_markdown_line(map(text_of, row)) for row in rows_of(table)]
        if number == 0:
            rules = ("--:" if numbers else "---" for numbers in are_numbers(table))
            lines = [_markdown_line(table.schema.names), f"|{'|'.join(rules)}|\n", *lines]
        _write("".join(lines), file)


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |\n"


def _write(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())
    file.flush()


def _write_parquet(tables: Iterable[Rows], file: IO[bytes], *, escape: bool) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415  # for this format alone

    del escape  # is for a terminal
    found: Iterator[Rows] = iter(tables)
    first = next(found)
    _different(first)
    try:
        with pq.ParquetWriter(file, first.schema) as writer:
            for table in chain([first], found):
                writer.write(table)
    except pa.ArrowNotImplementedError as error:
        raise ParameterError(f"{error}: cast that column, for example to VARCHAR") from None


_WRITERS: dict[Format, Callable[..., None]] = {
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.JSONL: _write_jsonl,
    Format.MARKDOWN: _write_markdown,
    Format.PARQUET: _write_parquet,
}
