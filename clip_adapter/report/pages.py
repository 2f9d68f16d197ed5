"""The page itself: from a store to a Markdown file with figures beside it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clip_adapter.report.facts import read_boards
from clip_adapter.report.inert import inert
from clip_adapter.report.sections import Section, section_of
from clip_adapter.runs import open_lens
from feature_cache import Location, storage

__all__ = ["WrittenReport", "write_report"]


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """What was written.

    Attributes:
        page: the Markdown file.
        figures: the SVG files it shows.
        n_runs: completed runs it tells of.
    """

    page: Path
    figures: tuple[Path, ...]
    n_runs: int


def write_report(root: Location, page: Path, *, datasets: Sequence[str] = ()) -> WrittenReport:
    """Tell of the store at `root` in a Markdown file and a folder of SVG figures beside it.

    The same runs give the same bytes. Each file is replaced in one step, the page last: a reader
    never finds a figure missing.

    Args:
        root: of the store; nothing is written to it.
        page: the file, whose folder is made where it is missing; figures go to
            `<stem>-figures/` beside it.
        datasets: those to report on; all when empty.

    Raises:
        MissingRootError: there is no store.
        NothingToReportError: it has no completed runs.
        UnknownNameError: a dataset has none.
        OSError: the disk refused; the page is as it was.
    """
    folder = page.parent / f"{page.stem}-figures"
    with open_lens(root) as lens:
        boards = read_boards(lens, datasets)
    sections = [section_of(board) for board in boards]
    text = _rendered(sections, folder=folder.name)
    figures = [figure for section in sections for figure in section.figures]
    paths = [folder / figure.name for figure in figures]
    for path, figure in zip(paths, figures, strict=True):
        _write(path, figure.svg)
    _write(page, text)
    n_runs = sum(len(board.all_runs) for board in boards)
    return WrittenReport(page=page, figures=tuple(paths), n_runs=n_runs)


def _rendered(sections: list[Section], *, folder: str) -> str:
    environment = Environment(
        loader=PackageLoader("clip_adapter.report"),
        autoescape=True,
        finalize=inert,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["join_cells"] = _join_cells
    template = environment.get_template("report.md.jinja")
    return template.render(sections=sections, folder=quote(folder))


def _join_cells(cells: Iterable[object]) -> Markup:
    return Markup(" | ").join(inert(cell) for cell in cells)


def _write(path: Path, text: str) -> None:
    storage.place(path, pa.py_buffer(text.encode()))
