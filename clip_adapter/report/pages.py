"""The page itself: from a store to a Markdown file with figures beside it, or to one HTML file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from clip_adapter.report.errors import PageFormatError
from clip_adapter.report.facts import read_boards
from clip_adapter.report.html import html_page
from clip_adapter.report.rendering import render
from clip_adapter.report.sections import Drawn, Section, section_of
from clip_adapter.runs import open_lens
from feature_cache import Location, storage

__all__ = ["WrittenReport", "page_of", "write_report"]

HTML = (".html", ".htm")
MARKDOWN = (".md", ".markdown")


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """What was written.

    Attributes:
        page: the Markdown or HTML file.
        figures: the SVG files it shows; none of an HTML file, which holds them.
        n_runs: completed runs it tells of.
    """

    page: Path
    figures: tuple[Path, ...]
    n_runs: int


def write_report(root: Location, page: Path, *, datasets: Sequence[str] = ()) -> WrittenReport:
    """Tell of the store at `root` in a Markdown file and a folder of SVG figures beside it.

    A page named `.html` holds its figures itself. The same runs give the same bytes. Each file is
    replaced in one step, the page last: a reader never finds a figure missing.

    Args:
        root: of the store; nothing is written to it.
        page: the file, whose folder is made where it is missing; figures of a Markdown file go to
            `<stem>-figures/` beside it.
        datasets: those to report on; all when empty.

    Raises:
        PageFormatError: the page's name ends in neither of the two.
        MissingRootError: there is no store.
        NothingToReportError: it has no completed runs.
        UnknownNameError: a dataset has none.
        OSError: the disk refused; the page is as it was.
    """
    _check_suffix(page)
    with open_lens(root) as lens:
        boards = read_boards(lens, datasets)
    sections = [section_of(board) for board in boards]
    n_runs = sum(len(board.all_runs) for board in boards)
    if page.suffix.casefold() in HTML:
        _write(page, page_of(sections))
        return WrittenReport(page=page, figures=(), n_runs=n_runs)
    folder = page.parent / f"{page.stem}-figures"
    text, figures = _told(sections, folder=folder.name)
    paths = [folder / figure.name for figure in figures]
    for path, figure in zip(paths, figures, strict=True):
        _write(path, figure.svg)
    _write(page, text)
    return WrittenReport(page=page, figures=tuple(paths), n_runs=n_runs)


def page_of(sections: Sequence[Section]) -> str:
    """The page in HTML, with its figures inside."""
    text, figures = _told(sections, folder="figures")
    return html_page(text, {figure.name: figure.svg for figure in figures})


def _check_suffix(page: Path) -> None:
    if page.suffix.casefold() not in (*HTML, *MARKDOWN):
        found = f"ends in {page.suffix}" if page.suffix else "has no ending"
        raise PageFormatError(
            f"a report is a page of Markdown or HTML, and {page.name} {found}: call it something "
            f"that ends in one of {', '.join((*MARKDOWN, *HTML))}"
        )


def _told(sections: Sequence[Section], *, folder: str) -> tuple[str, list[Drawn]]:
    text = render("report.md.jinja", sections=sections, folder=quote(folder))
    return text, [figure for section in sections for figure in section.figures]


def _write(path: Path, text: str) -> None:
    storage.place(path, pa.py_buffer(text.encode()))
