"""The report as one HTML file, as Markdown with figures, or as tables of LaTeX."""

import base64
import hashlib
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from altair.utils.schemapi import debug_mode
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from clip_adapter.escaping import escape_control_characters, escape_markdown, slug
from clip_adapter.report.blocks import (
    Block,
    Figure,
    Headline,
    Section,
    as_csv,
    commits_in_words,
    dates_in_words,
    encoding_in_words,
    in_seconds,
    tested_in_words,
)
from clip_adapter.report.figures.rendering import specification, svg
from clip_adapter.report.figures.style import DOCUMENT, PAGE, Style
from clip_adapter.report.glossary import GLOSSARY
from clip_adapter.report.latex import latex_report
from clip_adapter.report.numbers import listed, percent, points, probability
from clip_adapter.report.results import DatasetResults, read_results
from clip_adapter.report.sections import Projection, SectionWriter, Thumbnails
from clip_adapter.report.statements import statement
from clip_adapter.report.tables import Bold, datasets_table
from clip_adapter.report.vega import vega_script
from clip_adapter.runs import RunDatabase, RunStoreError, connect
from clip_adapter.shots import shots_in_words
from feature_cache import Location, storage

HTML = (".html", ".htm")
MARKDOWN = (".md", ".markdown")
LATEX = (".tex",)
MOST_SECTIONS, MOST_RUNS = 4, 1_500
"""Largest number of datasets and encoders that an HTML page shows in full, and of their runs; one is always shown,
and all have a row in its overview."""

NARROW = Style(width=340, font_size=12)
"""Figures on a phone."""
MOST_BYTES = 40_000
"""Largest SVG of a figure that a page has in a narrow version as well; larger ones scroll."""

_CODE = re.compile(r"`([\w $.:/=*,-]+)`")
_ESCAPED_CODE = re.compile(r"\\`((?:[\w $.:/=,-]|\\[$*_~])+)\\`")
_CLIPS = re.compile(r'(?<=id=")clip(?=\d)|(?<=url\(#)clip(?=\d)')


@dataclass(frozen=True, kw_only=True)
class WrittenReport:
    """The files of a report.

    Attributes:
        page: the Markdown, HTML or LaTeX file.
        figures: SVG files that the page shows; none for an HTML file, which contains them, and for LaTeX.
        n_runs: number of completed runs in the report.
    """

    page: Path
    figures: tuple[Path, ...]
    n_runs: int


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What a report shows beside what SQL knows.

    Attributes:
        thumbnails: small versions of images of a dataset.
        projection: the features before and after the adapter of a method, in two dimensions; returns no row
            where that cannot be shown.
    """

    thumbnails: Callable[[DatasetResults], Thumbnails] | None = None
    projection: Callable[[DatasetResults], Projection] | None = None


NOTHING_MORE = Extras()


def write_report(
    root: Location, page: Path, *, datasets: Sequence[str] = (), extras: Extras = NOTHING_MORE
) -> WrittenReport:
    """Write a report on a store to one HTML file, to Markdown with a folder of SVG figures, or to LaTeX.

    A page named `.html` contains everything; one named `.tex` has the tables of accuracy alone. Equal runs
    give equal bytes. Each file is replaced atomically, the page last, so that a page never lacks a figure.

    Args:
        root: location of the store; nothing is written to it.
        page: the file to write, whose folder is created if it is missing; figures of a Markdown
            file are written to `<stem>-figures/` beside it.
        datasets: names of the datasets to report on; all when empty.
        extras: pictures and features that SQL does not have.

    Raises:
        RunStoreError: the name of the page ends in none of the known suffixes, or the store has no
            completed runs.
        RunStoreError: there is no store.
        UnknownNameError: a dataset has no completed runs.
        OSError: the disk failed; the page is unchanged.
    """
    check_page_name(page)
    suffix = page.suffix.casefold()
    with connect(root) as database:
        results = read_results(database, datasets)
        n_runs = sum(each.about["n_runs"] for each in results)
        if suffix in LATEX:
            _write(page, latex_report(results))
            return WrittenReport(page=page, figures=(), n_runs=n_runs)
        shown = _newest(results) if suffix in HTML else results
        sections = write_sections(database, shown, extras)
    if suffix in HTML:
        _write(page, html_report(sections, [each for each in results if each not in shown]))
        return WrittenReport(page=page, figures=(), n_runs=n_runs)
    folder = page.parent / f"{page.stem}-figures"
    figures = [block.figure for each in sections for block in each.blocks if block.figure]
    paths = [folder / f"{figure.name}.svg" for figure in figures]
    for path, figure in zip(paths, figures, strict=True):
        _write(path, svg(figure.draw(style=DOCUMENT)))
    _write(page, markdown_report(sections, folder=folder.name))
    return WrittenReport(page=page, figures=tuple(paths), n_runs=n_runs)


def check_page_name(page: Path) -> None:
    """Raise unless a report can be written to a file of this name.

    Raises:
        RunStoreError: its name ends in none of the known suffixes.
    """
    if page.suffix.casefold() not in (*HTML, *MARKDOWN, *LATEX):
        found = f"ends in {page.suffix}" if page.suffix else "has no ending"
        raise RunStoreError(
            f"a report is a page of Markdown, HTML or LaTeX, and {page.name} {found}: call it something "
            f"that ends in one of {', '.join((*MARKDOWN, *HTML, *LATEX))}"
        )
    if page.is_dir():
        raise RunStoreError(f"{page.name} is a folder: expected the name of a file to write")


def write_sections(
    database: RunDatabase, results: Sequence[DatasetResults], extras: Extras = NOTHING_MORE
) -> list[Section]:
    """The sections of datasets and encoders."""
    champions = {row["dataset"]: row for row in database.query(statement("champion")).to_pylist()}
    costs = {
        (row["dataset"], row["encoder"]): row
        for row in database.query(statement("costs")).to_pylist()
    }
    return [
        SectionWriter(
            database=database,
            results=each,
            champion=champions.get(each.dataset),
            costs=costs.get((each.dataset, each.encoder)),
            thumbnails=extras.thumbnails(each) if extras.thumbnails else None,
            projection=extras.projection(each) if extras.projection else None,
        ).section()
        for each in results
    ]


def _newest(results: Sequence[DatasetResults]) -> list[DatasetResults]:
    """The results that were asked for last, as many as a page shows, in the order that they have."""
    kept: list[DatasetResults] = []
    for each in sorted(results, key=lambda each: each.recency, reverse=True)[:MOST_SECTIONS]:
        if kept and sum(one.about["n_runs"] for one in (*kept, each)) > MOST_RUNS:
            break
        kept.append(each)
    return [each for each in results if each in kept]


def markdown_report(sections: Sequence[Section], *, folder: str) -> str:
    """The report as Markdown.

    Args:
        sections: the sections.
        folder: name of the folder beside the page with the figures.
    """
    results = [each.results for each in sections]
    overview = datasets_table(results) if len(results) > 1 else None
    return render("report.md.jinja", sections=sections, overview=overview, folder=quote(folder))


def html_report(sections: Sequence[Section], others: Sequence[DatasetResults] = ()) -> str:
    """The report as one HTML page that contains its figures, and loads and sends nothing.

    Args:
        sections: the sections that are shown in full.
        others: results that have a row in the overview alone.
    """
    environment = _html_environment()
    page_script = _resource("page.js")
    has_figures = any(block.figure for each in sections for block in each.blocks)
    scripts = [*([vega_script()] if has_figures else []), page_script]
    return environment.get_template("page.html.jinja").render(
        sections=sections,
        others=others,
        scale=_scale(sections),
        overview=datasets_table([*(each.results for each in sections), *others])
        if len(sections) + len(others) > 1
        else None,
        style=Markup(_resource("page.css")),  # noqa: S704  # a file of this package
        scripts=[Markup(each) for each in scripts],  # noqa: S704  # as is Vega, of a package
        hashes=[_hash_of(each) for each in scripts],
        glossary=GLOSSARY,
        has_images=any(
            each.address
            for section in sections
            for block in section.blocks
            for each in block.pictures
        ),
    )


def render(template: str, **values: object) -> str:
    """Render a Markdown template of this package; values are escaped.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
    """
    return _markdown_environment().get_template(template).render(**values)


def _scale(sections: Sequence[Section]) -> tuple[float, float]:
    """The range of all gains, with 0 in it and some room at both ends."""
    gains = [each.headline.gain for each in sections if each.headline and each.headline.gain]
    low, high = (
        min([0.0, *(gain.low for gain in gains)]),
        max([0.0, *(gain.high for gain in gains)]),
    )
    room = 0.04 * (high - low) or 0.01
    return low - room, high + room


def _write(path: Path, text: str) -> None:
    storage.write_atomic(path, pa.py_buffer(text.encode()))


@cache
def _resource(name: str) -> str:
    return (files("clip_adapter.report") / "templates" / name).read_text(encoding="utf-8")


def _hash_of(script: str) -> str:
    """The source expression by which a Content-Security-Policy allows a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


@cache
def _markdown_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_adapter.report"),
        autoescape=True,
        finalize=escape_markdown,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    _add_words(environment)
    environment.filters["join_cells"] = _join_cells
    environment.filters["prose"] = _markdown_prose
    return environment


@cache
def _html_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("clip_adapter.report"),
        autoescape=True,
        finalize=lambda value: (
            value if isinstance(value, Markup) else escape_control_characters(value)
        ),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    _add_words(environment)
    environment.filters["prose"] = _html_prose
    environment.filters["drawn"] = _drawn
    environment.filters["download"] = _download
    environment.filters["place"] = _place
    environment.filters["lines"] = _lines
    environment.filters["slug"] = slug
    environment.filters["quoted"] = shlex.quote
    environment.filters["seconds"] = in_seconds
    environment.tests["bold"] = lambda cell: isinstance(cell, Bold)
    return environment


def _add_words(environment: Environment) -> None:
    functions: Mapping[str, Callable[..., Any]] = {
        "percent": percent,
        "points": points,
        "probability": probability,
        "shots": shots_in_words,
        "listed": listed,
        "dates": dates_in_words,
        "commits": commits_in_words,
        "tested": tested_in_words,
        "encoding": encoding_in_words,
        "sure": _how_sure,
        "gained": _gained,
    }
    environment.filters.update(functions)


def _how_sure(headline: Headline) -> str:
    """How sure the gain is, in a sentence."""
    gain = headline.gain
    if gain is None:
        return "Not compared with zero-shot on the same images."
    n_seeds = len(gain.seed_differences)
    is_one = n_seeds == 1 or gain.same_training_images
    over = "one training set" if is_one else f"{n_seeds} training sets"
    shown = {
        "ahead": "Better than zero-shot",
        "behind": "Worse than zero-shot",
        "no difference shown": "No difference from zero-shot is shown",
    }[gain.verdict]
    p_value = probability(gain.adjusted_p_value)
    said = p_value if p_value.startswith("below") else f"= {p_value}"
    n = headline.n_comparisons
    corrected = f" after Holm's correction for the {n} comparisons below" if n > 1 else ""
    alone = ", which the interval is not corrected for" if n > 1 else ""
    return (
        f"{shown}: 95 % interval {points(gain.low)} to {points(gain.high)} points, over {over} "
        f"and {gain.n_images:,} test images; p {said}{corrected}{alone}."
    )


def _gained(headline: Headline | None) -> list[str]:
    """Gain, interval, verdict and method as cells; empty where nothing was compared."""
    gain = headline and headline.gain
    if not headline or not gain:
        return [""] * 4
    return [
        points(gain.difference),
        f"{points(gain.low)} to {points(gain.high)}",
        gain.verdict,
        f"{headline.series.name}, {shots_in_words(headline.shots)}",
    ]


def _join_cells(cells: Iterable[object]) -> Markup:
    return Markup(" | ").join(
        Markup("**{}**").format(escape_markdown(cell))
        if isinstance(cell, Bold)
        else escape_markdown(cell)
        for cell in cells
    )


def _markdown_prose(text: str) -> Markup:
    """A paragraph whose words between backticks are code, where these are plain."""
    escaped = str(escape_markdown(text))
    code = _ESCAPED_CODE.sub(lambda found: f"`{found[1].replace(chr(92), '')}`", escaped)
    return Markup(code)  # noqa: S704  # escaped above


def _html_prose(text: str) -> Markup:
    """A paragraph with code between backticks, and words of the glossary that link there."""
    escaped = str(escape(escape_control_characters(text)))
    parts = _CODE.split(escaped)
    for place in range(0, len(parts), 2):
        parts[place] = _linked(parts[place])
    for place in range(1, len(parts), 2):
        parts[place] = f"<code>{parts[place]}</code>"
    return Markup("".join(parts))  # noqa: S704  # escaped above


def _linked(escaped: str) -> str:
    """Text of HTML in which the first use of each word of the glossary is explained."""
    seen: set[str] = set()

    def link(found: re.Match[str]) -> str:
        name = _names()[found[0].casefold()]
        if name in seen:
            return found[0]
        seen.add(name)
        title = escape(GLOSSARY[name])
        return f'<a class="term" href="#word-{slug(name)}" title="{title}">{found[0]}</a>'

    return _words().sub(link, escaped)


@cache
def _names() -> dict[str, str]:
    """The words of the glossary as a text has them, and the entry of each."""
    return {str(escape(form)).casefold(): name for name in GLOSSARY for form in (name, f"{name}s")}


@cache
def _words() -> re.Pattern[str]:
    forms = sorted(map(re.escape, _names()), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(forms)})(?![\w-])", re.IGNORECASE)


def _drawn(figure: Figure) -> list[dict[str, Any]]:
    """A figure for wide screens and, where it is not large, for narrow ones: specification and SVG."""
    # Altair would check every part against its schema, which takes most of the time; tests do that.
    with debug_mode(False):
        found = [_version(figure, "wide", PAGE)]
        if len(found[0]["still"]) < MOST_BYTES:
            found.append(_version(figure, "narrow", NARROW))
    return found


def _version(figure: Figure, name: str, style: Style) -> dict[str, Any]:
    """A figure in one style; no two figures of a page have the same names of clips."""
    chart = specification(figure.draw(style=style))
    still = _CLIPS.sub(f"{figure.name}-{name}-clip", svg(chart))
    return {"name": name, "specification": chart, "still": Markup(still)}  # noqa: S704  # texts are escaped by the renderer


def _download(block: Block) -> str:
    """The `data:` address of the rows of a block as CSV."""
    content = base64.b64encode(as_csv(block.rows).encode()).decode()
    return f"data:text/csv;base64,{content}"


def _lines(text: str) -> Markup:
    """Text with its lines."""
    return escape(escape_control_characters(text, keep="\n"))


def _place(value: float, scale: tuple[float, float]) -> str:
    """A number as a place between the ends of a scale, in percent."""
    low, high = scale
    return f"{100 * (value - low) / (high - low):.2f}%"
