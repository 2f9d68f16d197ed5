"""The search command: the images of a dataset that are most like a text or an image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clip_adapter.cli.options import Root
from clip_adapter.cli.table_files import (
    Format,
    FormatOption,
    OutputOption,
    checked_target,
    chosen_format,
    write_rows,
)
from clip_adapter.errors import ParameterError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import ReadOptions
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console

if TYPE_CHECKING:
    from clip_adapter.pipeline.search import SearchResult

MOST = 100_000
"""Largest number of images that are listed."""
PAGE_SUFFIXES = {".html", ".htm"}


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
    form: FormatOption = None,
    output: OutputOption = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Also write the images as a contact sheet, one .html file."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output and --html replace a file.")
    ] = False,
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
    chosen = chosen_format(form, output)
    _check_page(html)
    file = checked_target(output, overwrite=overwrite)
    page = checked_target(html, overwrite=overwrite)
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
    if chosen is Format.TABLE:
        _show(plain_console(), result)
    else:
        write_rows([result.to_arrow()], chosen, file, overwrite=overwrite)
        for line in [*result.summary, *([f"written to {file}"] if file else [])]:
            _say(plain_console(stderr=True), line)
    if page is not None:
        _say(plain_console(stderr=True), _write_page(result, page, follow_links))


def _check_page(page: Path | None) -> None:
    # A sheet as a .png has one line for all images of a group.
    if page is not None and page.suffix.casefold() not in PAGE_SUFFIXES:
        raise ParameterError(f"--html {page.name!r:.80}: expected a file that ends in .html")


def _write_page(result: "SearchResult", page: Path, follow_links: Path | None) -> str:
    from clip_adapter.pipeline.search_sheet import search_sheet  # noqa: PLC0415  # draws
    from clip_adapter.report.contact_sheet import write_contact_sheet  # noqa: PLC0415  # as above

    sheet = search_sheet(result, read=ReadOptions(follow_links=Settings.folder(follow_links)))
    write_contact_sheet(sheet, page)
    gaps = f", {sheet.n_gaps:,} of them gone, changed or unreadable" if sheet.n_gaps else ""
    return f"{sheet.n_shown + sheet.n_gaps:,} images{gaps}, in {page}"


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
