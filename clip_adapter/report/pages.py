"""The report: its sections, and its rendering as Markdown with figures, as one HTML file, or as LaTeX."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from clip_adapter.escaping import escape_markdown, slug
from clip_adapter.report import figures
from clip_adapter.report.interpretation import interpret, leaders
from clip_adapter.report.latex import latex_report
from clip_adapter.report.numbers import listed
from clip_adapter.report.open_vocabulary import open_vocabulary_of, open_vocabulary_table
from clip_adapter.report.protocols import base_to_new_table, shift_table
from clip_adapter.report.results import (
    DatasetResults,
    MethodSeries,
    accuracy_rows,
    method_series,
    read_results,
    reference_series,
)
from clip_adapter.report.selection_costs import selection_costs_of, selection_costs_table
from clip_adapter.report.studies import Study, studies_of
from clip_adapter.report.tables import (
    accuracy_table,
    calibration_table,
    choices_table,
    comparison_table,
    cost_table,
    grid,
)
from clip_adapter.runs import RunRecord, RunStoreError, connect, legend
from feature_cache import Location, storage

HTML = (".html", ".htm")
MARKDOWN = (".md", ".markdown")
LATEX = (".tex",)
PIXELS_A_POINT = 1.5
"""Resolution of figures in HTML: sharp on most screens, at some 40 kB a figure."""


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
class Figure:
    """A figure of a report.

    Attributes:
        name: name of its file.
        svg: content of its file.
    """

    name: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """The values that the template shows of one dataset and encoder, by name.

    Attributes:
        about: head of the section.
        results: methods on the leaderboard; None where there are only studies.
        studies: studies, each with its figure and table.
        open_vocabulary: methods with classes that were added by name; None where that was not studied.
        selection_costs: what choosing on test images adds; None where that was not studied.
        base_to_new: methods that were trained on half of the classes; None where none was.
        shift: methods that were tested on other datasets; None where none was.
    """

    about: Mapping[str, Any]
    results: Mapping[str, Any] | None
    studies: tuple[Mapping[str, Any], ...]
    open_vocabulary: Mapping[str, Any] | None
    selection_costs: Mapping[str, Any] | None
    base_to_new: Mapping[str, Any] | None = None
    shift: Mapping[str, Any] | None = None

    @property
    def figures(self) -> list[Figure]:
        """All figures of the section."""
        shown = [self.results] if self.results else []
        return [each["figure"] for each in [*shown, *self.studies]]


def write_report(root: Location, page: Path, *, datasets: Sequence[str] = ()) -> WrittenReport:
    """Write a report on a store to a Markdown file with a folder of SVG figures, to HTML or to LaTeX.

    A page named `.html` contains its figures; one named `.tex` has the tables of accuracy alone. Equal runs give equal bytes. Each file is replaced
    atomically, the page last, so that a page never lacks a figure.

    Args:
        root: location of the store; nothing is written to it.
        page: the file to write, whose folder is created if it is missing; figures of a Markdown
            file are written to `<stem>-figures/` beside it.
        datasets: names of the datasets to report on; all when empty.

    Raises:
        RunStoreError: the name of the page ends in none of the known suffixes, or the store has no
            completed runs.
        RunStoreError: there is no store.
        UnknownNameError: a dataset has no completed runs.
        OSError: the disk failed; the page is unchanged.
    """
    _check_suffix(page)
    with connect(root) as database:
        results = read_results(database, datasets)
    if page.suffix.casefold() in LATEX:
        _write(page, latex_report(results))
        return WrittenReport(page=page, figures=(), n_runs=sum(len(each.runs) for each in results))
    sections = [section_of(each) for each in results]
    n_runs = sum(len(each.all_runs) for each in results)
    if page.suffix.casefold() in HTML:
        _write(page, html_report(sections))
        return WrittenReport(page=page, figures=(), n_runs=n_runs)
    folder = page.parent / f"{page.stem}-figures"
    text, figures = _markdown(sections, folder=folder.name)
    paths = [folder / figure.name for figure in figures]
    for path, figure in zip(paths, figures, strict=True):
        _write(path, figure.svg)
    _write(page, text)
    return WrittenReport(page=page, figures=tuple(paths), n_runs=n_runs)


def html_report(sections: Sequence[Section]) -> str:
    """The report as one page of HTML that contains its figures."""
    text, figures = _markdown(sections, folder="figures")
    return html_page(text, {figure.name: figure.svg for figure in figures})


def section_of(results: DatasetResults) -> Section:
    """The section of one dataset and encoder, with its figures drawn."""
    return Section(
        about=_about(results),
        results=_results(results) if results.runs else None,
        studies=tuple(_study(results, study) for study in studies_of(results.study_runs)),
        open_vocabulary=_open_vocabulary(results),
        selection_costs=_selection_costs(results),
        base_to_new={"table": base_to_new_table(rows)} if (rows := results.base_to_new) else None,
        shift={"table": shift_table(rows)} if (rows := results.shift) else None,
    )


def _about(results: DatasetResults) -> dict[str, Any]:
    runs, latest = [result.run for result in results.all_runs], results.latest
    names = [each.name for each in method_series(results.runs)]
    names += [row["name"] for row in (*results.base_to_new, *results.shift)]
    return {
        "legend": legend(names),
        "dataset": latest.dataset,
        "model": results.encoder_name or latest.model,
        "encoder": latest.encoder[:12],
        "precision": latest.precision,
        "has_oracle": any("oracle" in run.selected_on for run in runs),
        "n_test": " or ".join(f"{n:,}" for n in sorted({run.n_test for run in runs})),
        "n_leaked": max(run.n_leaked for run in runs),
        "seeds": listed(_sorted(str(run.seed) for run in runs if run.seed is not None)) or "none",
        "recipes": listed(_recipes(results)),
        "dates": _dates(runs),
        "commits": listed(_commits(runs)),
        "failures": results.failures,
    }


def _results(results: DatasetResults) -> dict[str, Any]:
    series = method_series(results.runs)
    title = f"Accuracy on {_subject(results)}"
    interpretation = interpret(results, series)
    return {
        "title": title,
        "figure": Figure(name=_file_name(results, "accuracy"), svg=_accuracy_figure(series, title)),
        "accuracy": accuracy_table(series),
        "leaders": leaders(series),
        "interpretation": interpretation,
        "comparisons": comparison_table(interpretation.comparisons if interpretation else ()),
        "choices": choices_table(series),
        "calibration": calibration_table(series),
        "cost": cost_table(series),
    }


def _study(results: DatasetResults, study: Study) -> dict[str, Any]:
    recipe = ", ".join(filter(None, [study.recipe and f"{study.recipe} recipe", study.images]))
    title = f"{study.name} on {_subject(results)}{recipe and f', {recipe}'}"
    words = ["study", study.name, study.recipe, study.images]
    file = "-".join(slug(each) for each in words if each)
    means = {variant.name: variant.means for variant in study.variants}
    return {
        "name": study.name,
        "recipe": recipe,
        "title": title,
        "figure": Figure(name=_file_name(results, file), svg=_study_figure(study, title)),
        "varied": study.varied,
        "seeds": listed([str(seed) for seed in study.seeds]),
        "table": grid(means, heading=study.varied),
    }


def _accuracy_figure(series: Sequence[MethodSeries], title: str) -> str:
    reference = reference_series(series)
    rows = accuracy_rows(series)
    best = max(rows, key=lambda row: row["accuracy_mean"], default={"name": ""})["name"]
    highlight = [*([reference.name] if reference else []), best]
    chart = figures.accuracy(
        rows, highlight=list(dict.fromkeys(highlight)), style=figures.DOCUMENT, title=title
    )
    return figures.svg(chart)


def _study_figure(study: Study, title: str) -> str:
    return figures.svg(figures.study(study, style=figures.DOCUMENT, title=title))


def _open_vocabulary(results: DatasetResults) -> dict[str, Any] | None:
    found = open_vocabulary_of(results.study_runs)
    if not found:
        return None
    seeds = sorted({seed for each in found for seed in each.seeds})
    return {
        "table": open_vocabulary_table(found),
        "seeds": listed([str(seed) for seed in seeds]) or "none",
    }


def _selection_costs(results: DatasetResults) -> dict[str, Any] | None:
    found = selection_costs_of(results.study_runs)
    if not found:
        return None
    seeds = sorted({seed for each in found for seed in each.seeds})
    return {
        "table": selection_costs_table(found),
        "seeds": listed([str(seed) for seed in seeds]) or "none",
    }


def _subject(results: DatasetResults) -> str:
    return f"{results.latest.dataset} with {results.encoder_name or results.latest.model}"


def _file_name(results: DatasetResults, subject: str) -> str:
    latest = results.latest
    return f"{slug(latest.dataset)}-{slug(latest.encoder[:8])}-{subject}.svg"


def _dates(runs: Iterable[RunRecord]) -> str:
    days = sorted(run.started_at.astimezone(UTC).date().isoformat() for run in runs)
    return days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"


def _recipes(results: DatasetResults) -> list[str]:
    """The recipes of the runs that are compared; each study names its own."""
    recipes = (result.run.settings.recipe for result in results.runs)
    return _sorted(recipe for recipe in recipes if recipe)


def _commits(runs: Iterable[RunRecord]) -> list[str]:
    found = _sorted(run.git_commit[:10] if run.git_commit else "no commit" for run in runs)
    return found if len(found) <= 4 else [*found[:3], f"{len(found) - 3} other commits"]


def _sorted(texts: Iterable[str]) -> list[str]:
    return sorted(set(texts), key=lambda text: (len(text), text))


def _check_suffix(page: Path) -> None:
    if page.suffix.casefold() not in (*HTML, *MARKDOWN, *LATEX):
        found = f"ends in {page.suffix}" if page.suffix else "has no ending"
        raise RunStoreError(
            f"a report is a page of Markdown, HTML or LaTeX, and {page.name} {found}: call it something "
            f"that ends in one of {', '.join((*MARKDOWN, *HTML, *LATEX))}"
        )


def _markdown(sections: Sequence[Section], *, folder: str) -> tuple[str, list[Figure]]:
    text = render("report.md.jinja", sections=sections, folder=quote(folder))
    return text, [figure for section in sections for figure in section.figures]


def _write(path: Path, text: str) -> None:
    storage.write_atomic(path, pa.py_buffer(text.encode()))


def render(template: str, **values: object) -> str:
    """Render a Markdown template of this package; values are escaped.

    Raises:
        jinja2.UndefinedError: the template uses a value that is not given.
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


@lru_cache(maxsize=8)
def png_address(svg: str) -> str:
    """A `data:` address of a figure as PNG.

    A PNG looks the same everywhere: the letters of an SVG are drawn with the fonts of the browser,
    and wider ones than the renderer measured are cut off. No name in it can be anything but pixels.
    """
    content = vl_convert.svg_to_png(svg, scale=PIXELS_A_POINT)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def html_page(markdown: str, figures: Mapping[str, str]) -> str:
    """Convert Markdown to HTML that runs no script and loads nothing.

    Args:
        markdown: CommonMark with tables; HTML in it is shown as text.
        figures: SVG by the name of the file that the Markdown shows.
    """
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    _embed(tokens, {name: png_address(svg) for name, svg in figures.items()})
    body = parser.renderer.render(tokens, parser.options, {})
    environment = Environment(loader=PackageLoader("clip_adapter.report"), autoescape=True)
    title = next((token.content for token in tokens if token.type == "inline"), "Report")
    # The renderer has escaped every text already.
    return environment.get_template("page.html.jinja").render(title=title, body=Markup(body))  # noqa: S704


def _embed(tokens: Sequence[Token], addresses: Mapping[str, str]) -> None:
    for token in tokens:
        if token.type == "image":
            name = str(token.attrGet("src")).rpartition("/")[2]
            token.attrSet("src", addresses[name])
        _embed(token.children or [], addresses)
