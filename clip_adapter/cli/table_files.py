"""Tables of rows as the commands write them: to a file, or to standard output."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Any

import pyarrow as pa
import typer

from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from feature_cache.exchange.atomic_write import check_absent, new_file


class Format(StrEnum):
    """Formats of rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"


FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="How to write the rows; else by the name of --output, else a table.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the rows to this file: .csv, .json, .jsonl or .parquet.",
        show_default=False,
    ),
]
_SUFFIXES = {f".{form}": form for form in Format if form is not Format.TABLE}


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
            f"{output.name!r:.80} names no format: expected a file that ends in .csv, .json, .jsonl or "
            ".parquet, or --format csv, json, jsonl or parquet"
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
    tables: Iterable[pa.Table], form: Format, output: Path | None, *, overwrite: bool
) -> None:
    """Write the rows of tables, each as it comes; a file is written completely or not at all.

    On a terminal, control characters are escaped; files and pipes get the text as it is.

    Args:
        tables: at least one table, all with the same columns.
        form: any format but the table, and Parquet to a file alone.
        output: the file to write; None for standard output.
        overwrite: replace a file that exists.

    Raises:
        InvalidInputError: the file exists and may not be replaced.
        OSError: the disk is full or fails, or the reader of a pipe is gone.
    """
    if output is not None:
        with new_file(output, overwrite=overwrite) as file:
            _WRITERS[form](tables, file, escape=False)
        return
    sys.stdout.flush()
    _WRITERS[form](tables, sys.stdout.buffer, escape=sys.stdout.isatty())
    sys.stdout.buffer.flush()


def _write_csv(tables: Iterable[pa.Table], file: IO[bytes], *, escape: bool) -> None:
    for number, table in enumerate(tables):
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if number == 0:
            writer.writerow(table.column_names)
        for row in table.to_pylist():
            writer.writerow([_escaped(value) if escape else value for value in row.values()])
        _write(text.getvalue(), file)


def _escaped(value: Any) -> Any:
    return escape_control_characters(value) if isinstance(value, str) else value


def _write_json(tables: Iterable[pa.Table], file: IO[bytes], *, escape: bool) -> None:
    rows = [row for table in tables for row in table.to_pylist()]
    _write(_json_text(rows, escape=escape, indent=2), file)


def _write_jsonl(tables: Iterable[pa.Table], file: IO[bytes], *, escape: bool) -> None:
    for table in tables:
        _write("".join(_json_text(row, escape=escape) for row in table.to_pylist()), file)


def _json_text(value: Any, *, escape: bool, indent: int | None = None) -> str:
    """JSON with its line end; what is escaped is JSON of the same value."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if escape and not text.isprintable():
        text = "".join(
            character
            if character.isprintable() or character == "\n"
            else json.dumps(character)[1:-1]
            for character in text
        )
    return f"{text}\n"


def _write(text: str, file: IO[bytes]) -> None:
    file.write(text.encode())
    file.flush()


def _write_parquet(tables: Iterable[pa.Table], file: IO[bytes], *, escape: bool) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415  # for this format alone

    del escape  # is for a terminal
    found: Iterator[pa.Table] = iter(tables)
    first = next(found)
    with pq.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], found):
            writer.write_table(table)


_WRITERS: dict[Format, Callable[..., None]] = {
    Format.CSV: _write_csv,
    Format.JSON: _write_json,
    Format.JSONL: _write_jsonl,
    Format.PARQUET: _write_parquet,
}
