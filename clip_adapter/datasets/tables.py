"""Tables of paths and labels: CSV, lines of JSON, and Parquet, with the image files beside them.

Columns are path and label, and perhaps split and group. Paths are relative to the folder of the table,
or to another that the user names. They are not trusted: the reader of images opens none that leaves the
folder, unless the user allows it.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, Final, TextIO

from clip_adapter.datasets.labelled_rows import (
    MAX_CELL,
    LabelledRow,
    RowReading,
    absolute_below,
    as_text,
    choose_columns,
    source_of_rows,
)
from clip_adapter.datasets.parquet_rows import open_parquet, parquet_rows
from clip_adapter.datasets.sources import FolderOptions, ImageSource
from clip_adapter.errors import DatasetError

COLUMNS: Final = ("path", "label", "split", "group")
MAX_TABLE_BYTES: Final = 2 * 2**30
MAX_LINE: Final = 2**20
"""Largest number of characters of a line."""
_DELIMITERS = (",", ";", "\t", "|")

Choose = Callable[[Sequence[str]], dict[str, str]]
"""The table's column for each of ours, given all that it has."""


def open_table(path: str, images: Path | None, options: FolderOptions, *, kind: str) -> ImageSource:
    """The dataset that a table describes, one row an image.

    Args:
        path: the table.
        images: folder that paths are relative to; that of the table if None.
        options: what the user says about the dataset.
        kind: csv, jsonl or parquet.

    Raises:
        DatasetError: the table is missing, is not of that kind, lacks a column, or describes no dataset.
    """
    table = Path(path).expanduser()
    if not table.is_file():
        found = "is no regular file" if table.exists() else "does not exist"
        raise DatasetError(f"the table {table} {found}; write {kind}:PATH with one")
    if table.stat().st_size > MAX_TABLE_BYTES:
        raise DatasetError(
            f"{table} is larger than {MAX_TABLE_BYTES:,} bytes, the limit of a table"
        )
    folder = images or table.parent
    if not folder.is_dir():
        raise DatasetError(f"there is no folder {folder} of images (--images FOLDER)")
    what = str(table)

    def choose(found: Sequence[str]) -> dict[str, str]:
        return choose_columns(
            found, options, what=what, required=("path", "label"), optional=("split", "group")
        )

    reading = RowReading(what, options)
    for row in _READERS[kind](table, choose, what):
        cells = {ours: as_text(value, what=f"{ours} in {what}") for ours, value in row.items()}
        reading.add(
            LabelledRow(
                path=_normalised(cells.get("path") or "", folder),
                label=cells.get("label"),
                split=cells.get("split"),
                group=cells.get("group"),
            )
        )
    if not reading.kept and not reading.excluded:
        raise DatasetError(f"{table} has no rows; expected one for each image")
    return source_of_rows(reading, name=table.stem, folder=folder)


def _normalised(path: str, folder: Path) -> str:
    """A path of which the same file has one form, as far as that is known without looking."""
    return str(PurePosixPath(absolute_below(path, str(folder)))) if path else ""


def _csv_rows(table: Path, choose: Choose, what: str) -> Iterator[Mapping[str, Any]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            header = stream.readline(MAX_LINE)
            stream.seek(0)
            lines = _lines(stream, what)
            rows = csv.reader(lines, delimiter=_delimiter(header), strict=True)
            names = [name.strip() for name in next(rows, [])]
            places = {ours: names.index(name) for ours, name in choose(names).items()}
            for cells in rows:
                if len(cells) > len(names) and any(cells[len(names) :]):
                    raise DatasetError(
                        f"line {rows.line_num:,} of {what} has {len(cells)} cells and the header "
                        f"{len(names)}; put cells that contain the delimiter into quotes"
                    )
                if any(cells):
                    yield {
                        ours: cells[place] if place < len(cells) else None
                        for ours, place in places.items()
                    }
    except csv.Error as error:
        raise DatasetError(f"line {rows.line_num:,} of {what} is no CSV: {error}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(_not_utf8(what)) from error


def _lines(stream: TextIO, what: str) -> Iterator[str]:
    """The lines of a table, none of them kept whole if it is too long.

    Raises:
        DatasetError: a line has more than `MAX_LINE` characters.
    """
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise DatasetError(f"line {number:,} of {what} has more than {MAX_LINE:,} characters")
        yield line


def _delimiter(header: str) -> str:
    """The delimiter that divides the first line into most cells."""
    line = header.rstrip("\r\n")
    return max(_DELIMITERS, key=line.count)


def _jsonl_rows(table: Path, choose: Choose, what: str) -> Iterator[Mapping[str, Any]]:
    chosen: dict[str, str] = {}
    try:
        with table.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(_lines(stream, what), start=1):
                if not line.strip():
                    continue
                row = _parse_json(line, where=f"line {number:,} of {what}")
                chosen = chosen or choose(list(row))
                # A key that the first line lacks may come later.
                yield {ours: row.get(chosen.get(ours, ours)) for ours in COLUMNS}
    except UnicodeDecodeError as error:
        raise DatasetError(_not_utf8(what)) from error


def _parse_json(line: str, *, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where} is no JSON: {str(error)[:200]}") from error
    if not isinstance(row, dict):
        raise DatasetError(
            f"{where} is a {type(row).__name__}; expected an object with path and label"
        )
    return row


def _parquet_rows(table: Path, choose: Choose, what: str) -> Iterator[Mapping[str, Any]]:
    with table.open("rb") as file:
        schema = open_parquet(file, what=what).schema_arrow
        try:
            columns = choose(schema.names)
        except DatasetError as error:
            if b"huggingface" in (schema.metadata or {}):
                hint = f"{error}; if its images are inside, write hf:{table.parent}"
                raise DatasetError(hint) from None
            raise
        yield from parquet_rows(file, columns, what=what, longest=MAX_CELL)


def _not_utf8(what: str) -> str:
    return f"{what} is not UTF-8; save it in that encoding (in Excel: CSV UTF-8)"


_READERS = MappingProxyType({"csv": _csv_rows, "jsonl": _jsonl_rows, "parquet": _parquet_rows})
