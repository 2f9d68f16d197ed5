"""The search command: the images of a dataset that are most like a text or an image."""

import csv
import json
from enum import StrEnum
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.options import Root
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import ReadOptions
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console
from feature_cache import storage

if TYPE_CHECKING:
    from clip_adapter.pipeline.search import SearchResult

MOST = 100_000
"""Largest number of images that are listed."""


class Format(StrEnum):
    """Formats of a result."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


PAGE_SUFFIXES = {".html", ".htm"}
FILE_SUFFIXES = {".csv", ".json", ".jsonl", ".parquet"}


def search(
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="Some words, or the path of an image that exists."),
    ],
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            "--dataset",
            help="Dataset to search, by its name in the store; several may be given. All by default.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Encoder whose features are compared, by its model or eight digits of its "
            "fingerprint; else the one that was requested last for these datasets.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=MOST, help="How many images.")] = 20,
    form: Annotated[
        Format, typer.Option("--format", help="How to write the images on standard output.")
    ] = Format.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="Write the images to this .csv, .json, .jsonl or .parquet file instead.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write the images as a contact sheet, one .html file."),
    ] = None,
    is_text: Annotated[
        bool, typer.Option("--text", help="QUERY is some words, whatever files there are.")
    ] = False,
    is_image: Annotated[bool, typer.Option("--image", help="QUERY is an image.")] = False,
    follow_links: Annotated[
        Path | None,
        typer.Option(
            "--follow-links",
            help="Folder below which links may lead out of the folder of the images, for --html.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps, to encode the query.")
    ] = "auto",
    root: Root = None,
) -> None:
    """Find the images of indexed datasets that are most like some words or an image.

    They are ranked by the cosine of stored features, exactly. The features of words are kept, so that
    searching for them again loads no encoder; neither does an image that is stored.
    """
    if is_text and is_image:
        message = "--text and --image exclude each other"
        raise typer.BadParameter(message)
    page = None if html is None else html.expanduser().resolve()
    file = None if output is None else output.expanduser().resolve()
    _check_files(file, page)
    from clip_adapter.pipeline.search import similar  # noqa: PLC0415  # when the options are right

    result = similar(
        query,
        dataset=dataset,
        model=model,
        top=top,
        kind="text" if is_text else "image" if is_image else "auto",
        root=root,
        device=device,
        reporter=Reporter(),
    )
    _write(result, file, form)
    if page is not None:
        _say(plain_console(stderr=True), _write_page(result, page, follow_links))


def _check_files(file: Path | None, page: Path | None) -> None:
    if file is not None and file.suffix not in FILE_SUFFIXES:
        raise ParameterError(
            f"--output {file.name!r:.80}: expected a file that ends in "
            f"{', '.join(sorted(FILE_SUFFIXES))}"
        )
    # A sheet as a .png has one line for all images of a group.
    if page is not None and page.suffix not in PAGE_SUFFIXES:
        raise ParameterError(f"--html {page.name!r:.80}: expected a file that ends in .html")


def _write_page(result: "SearchResult", page: Path, follow_links: Path | None) -> str:
    from clip_adapter.pipeline.search_sheet import search_sheet  # noqa: PLC0415  # draws
    from clip_adapter.report.contact_sheet import write_contact_sheet  # noqa: PLC0415  # as above

    sheet = search_sheet(result, read=ReadOptions(follow_links=Settings.folder(follow_links)))
    write_contact_sheet(sheet, page)
    gaps = f", {sheet.n_gaps:,} of them gone, changed or unreadable" if sheet.n_gaps else ""
    return f"{sheet.n_shown + sheet.n_gaps:,} images{gaps}, in {page}"


def _write(result: "SearchResult", file: Path | None, form: Format) -> None:
    """Write the images to a file or to standard output, what is said about them elsewhere."""
    if file is None and form is Format.TABLE:
        _show(plain_console(), result)
        return
    if file is None:
        print(_content(result.to_arrow(), form.value).decode(), end="")  # noqa: T201  # rich would wrap it
    else:
        storage.write_atomic(file, pa.py_buffer(_content(result.to_arrow(), file.suffix[1:])))
    for line in [*result.summary, *([f"written to {file}"] if file else [])]:
        _say(plain_console(stderr=True), line)


def _content(table: pa.Table, form: str) -> bytes:
    """The images in a format, as the bytes of a file."""
    if form == "parquet":
        sink = BytesIO()
        pq.write_table(table, sink)
        return sink.getvalue()
    rows: list[dict[str, Any]] = table.to_pylist()
    if form == "json":
        return f"{json.dumps(rows, indent=2)}\n".encode()
    if form == "jsonl":
        return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    text = StringIO(newline="")
    writer = csv.DictWriter(text, table.column_names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _show(console: Console, result: "SearchResult") -> None:
    shown = result.to_arrow().drop_columns(["image_sha256"])
    title, *notes = result.summary
    _say(console, title)
    table = Table()
    for name, kind in zip(shown.column_names, shown.schema.types, strict=True):
        justify: Any = "left" if pa.types.is_string(kind) else "right"
        table.add_column(name.replace("_", " "), justify=justify, overflow="fold")
    for row in shown.to_pylist():
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    console.print(table)
    for note in notes:
        _say(console, note)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else escape_control_characters(value)


def _say(console: Console, line: str) -> None:
    console.print(escape_control_characters(line), markup=False, soft_wrap=True)
