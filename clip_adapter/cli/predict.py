"""The predict command: classes of images as a table, CSV, JSON lines or Parquet."""

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
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.requests import from_options
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.pipeline.image_inputs import LIST
from clip_adapter.pipeline.requests import PredictRequest
from clip_adapter.terminal import plain_console
from feature_cache.exchange.atomic_write import check_absent, new_file


class Format(StrEnum):
    """Formats of predictions."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


_SUFFIXES = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".parquet": Format.PARQUET}


@from_options(PredictRequest)
def predict(
    request: PredictRequest,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="How to write the rows; else by the name of --output, else a table.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the rows to this file.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output replace a file.")
    ] = False,
) -> None:
    """Classify images with a trained classifier, through the feature cache.

    One row an image, in the order given; an unreadable one is a row with the reason, and exit code 1
    if none could be read.

    Features are kept in the store, so that no image is encoded twice; `cache gc --unreferenced`
    drops those of images that no dataset has.
    """
    chosen = _format(form, output)
    if output is not None:
        output = output.expanduser().resolve()
        check_absent(output, overwrite=overwrite)
    from clip_adapter.pipeline.predict import Prediction  # noqa: PLC0415  # imports what computes

    listed = sys.stdin.read().splitlines() if LIST in request.names else []
    prediction = Prediction(request, listed=[line for line in listed if line])
    done: list[pa.Table] = []

    def tables() -> Iterator[pa.Table]:
        for table in prediction.tables():
            done.append(table)
            yield table

    if output is None:
        _WRITERS[chosen](tables(), sys.stdout.buffer)
    else:
        with new_file(output, overwrite=overwrite) as file:
            _WRITERS[chosen](tables(), file)
    result = prediction.result(pa.concat_tables(done))
    _say(result.summary, output)
    if result.n_unreadable == len(result.table):
        raise typer.Exit(1)


def _format(form: Format | None, output: Path | None) -> Format:
    if output is None:
        if form is Format.PARQUET:
            raise ParameterError("Parquet is written to a file: name it with --output FILE.parquet")
        return form or Format.TABLE
    chosen = form or _SUFFIXES.get(output.suffix.casefold())
    if chosen is None or chosen is Format.TABLE:
        raise ParameterError(
            f"{output.name!r:.80} names no format: expected a file that ends in .csv, .jsonl or "
            ".parquet, or --format csv, jsonl or parquet"
        )
    return chosen


def _write_csv(tables: Iterable[pa.Table], file: IO[bytes]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text)
    for number, table in enumerate(tables):
        if number == 0:
            writer.writerow(table.column_names)
        writer.writerows(list(row.values()) for row in table.to_pylist())
        text.flush()
    text.detach()


def _write_jsonl(tables: Iterable[pa.Table], file: IO[bytes]) -> None:
    for table in tables:
        for row in table.to_pylist():
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        file.flush()


def _write_parquet(tables: Iterable[pa.Table], file: IO[bytes]) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415  # for this format alone

    found = iter(tables)
    first = next(found)
    with pq.ParquetWriter(file, first.schema) as writer:
        for table in chain([first], found):
            writer.write_table(table)


def _print_table(tables: Iterable[pa.Table], _: IO[bytes]) -> None:
    whole = pa.concat_tables(tables)
    has_errors = whole["error"].null_count < len(whole)
    shown = whole if has_errors else whole.drop_columns(["error"])
    drawn = Table()
    for name in shown.column_names:
        is_number = name.startswith("confidence")
        drawn.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in shown.to_pylist():
        drawn.add_row(*map(_text, row.values()))
    plain_console().print(drawn)


def _text(value: Any) -> Text:
    if isinstance(value, float):
        return Text(f"{value:.1%}")
    return Text("" if value is None else escape_control_characters(value))


_WRITERS: dict[Format, Callable[[Iterable[pa.Table], IO[bytes]], None]] = {
    Format.TABLE: _print_table,
    Format.CSV: _write_csv,
    Format.JSONL: _write_jsonl,
    Format.PARQUET: _write_parquet,
}


def _say(summary: str, output: Path | None) -> None:
    written = f"; written to {output}" if output else ""
    shown = escape_control_characters(f"{summary}{written}")
    plain_console(stderr=True).print(shown, soft_wrap=True)
