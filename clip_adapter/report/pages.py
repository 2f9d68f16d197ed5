"""The page itself: from a store to a Markdown file with figures beside it, or to one HTML file."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from clip_adapter.escaping import escape_markdown
from clip_adapter.report.facts import PageFormatError, read_boards
from clip_adapter.report.sections import Drawn, Section, section_of
from clip_adapter.runs import connect
from feature_cache import Location, storage


def render(template: str, **values: object) -> str:
    """The Markdown that a template of this package makes of some values.

    Raises:
        jinja2.UndefinedError: the template asks for a value that is not given.
    """
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_adapter.report"),
        autoescape=True,
        finalize=escape_markdown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["join_cells"] = _join_cells
    return environment


def _join_cells(cells: Iterable[object]) -> Markup:
    return Markup(" | ").join(escape_markdown(cell) for cell in cells)


PIXELS_A_POINT = 1.5
"""Sharp on most screens, at some 40 kB a figure."""


@lru_cache(maxsize=8)
def png_address(svg: str) -> str:
    """A `data:` address of a figure as pixels, in which no name can be anything but a picture.

    It looks the same everywhere: letters of an SVG are drawn with the fonts of whoever looks, and
    wider ones than the renderer measured are cut off.
    """
    content = vl_convert.svg_to_png(svg, scale=PIXELS_A_POINT)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def html_page(markdown: str, figures: Mapping[str, str]) -> str:
    """Markdown as HTML that loads nothing: no script runs in it, and no address is asked.

    Args:
        markdown: CommonMark with tables; HTML in it is shown, not obeyed.
        figures: SVG by the name of the file that the Markdown shows.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    _put_inside(tokens, {name: png_address(svg) for name, svg in figures.items()})
    body = parser.renderer.render(tokens, parser.options, {})
    environment = Environment(loader=PackageLoader("clip_adapter.report"), autoescape=True)
    title = next((token.content for token in tokens if token.type == "inline"), "Report")
    # The renderer has escaped every text already.
    return environment.get_template("page.html.jinja").render(title=title, body=Markup(body))  # noqa: S704


def _put_inside(tokens: Sequence[Token], addresses: Mapping[str, str]) -> None:
    for token in tokens:
        if token.type == "image":
            name = str(token.attrGet("src")).rpartition("/")[2]
            token.attrSet("src", addresses[name])
        _put_inside(token.children or [], addresses)


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
        RunStoreError: there is no store.
        NothingToReportError: it has no completed runs.
        UnknownNameError: a dataset has none.
        OSError: the disk refused; the page is as it was.
    """
    _check_suffix(page)
    with connect(root) as database:
        boards = read_boards(database, datasets)
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
