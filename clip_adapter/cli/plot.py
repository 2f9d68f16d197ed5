"""The plot command: one figure as a file, in the quality of print."""

import inspect
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from clip_adapter.cli.options import Json, Root, parse_names, parse_shots
from clip_adapter.cli.summaries import print_json
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.terminal import plain_console

_WIDTH = re.compile(r"(\d{1,4}(?:\.\d{1,3})?) ?(in|mm|cm)")
_INCHES = {"in": 1.0, "mm": 1 / 25.4, "cm": 1 / 2.54}


def parse_width(text: str) -> float:
    """A width in inches, from a number with its unit.

    >>> parse_width("3.25in"), round(parse_width("84 mm"), 3)
    (3.25, 3.307)

    Raises:
        typer.BadParameter: the text has another form.
    """
    found = _WIDTH.fullmatch(text.strip())
    if found is None:
        message = f"{text!r} is not a width like 3.25in, 84mm or 8.4cm"
        raise typer.BadParameter(message)
    return float(found[1]) * _INCHES[found[2]]


OF_ONE_METHOD = {"per-class-change", "confusion", "reliability"}
"""Figures that show one method, which the command names."""


def plot(
    figure: Annotated[
        str,
        typer.Argument(
            metavar="FIGURE",
            help="accuracy, base-to-new, per-class-change, confusion, reliability, features, study or "
            "champions.",
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", help="The file to write: .svg, .pdf, .png or .json (Vega-Lite).")
    ],
    dataset: Annotated[
        str, typer.Option("--dataset", help="Dataset with runs, by its name in the store.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model of the encoder, or eight digits of its fingerprint; else the one that trained "
            "last.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Methods to draw, separated by commas: one for per-class-change, confusion and "
            "reliability.",
            show_default=False,
        ),
    ] = None,
    highlight: Annotated[
        str | None,
        typer.Option(
            "--highlight",
            help="Methods at full contrast in accuracy, separated by commas; else clip-adapter and the "
            "best one.",
            show_default=False,
        ),
    ] = None,
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            help="Labelled images a class, separated by commas; one for the figures of one method, else "
            "the largest.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--study",
            help="Study to draw, as residual-ratio; else the only one.",
            show_default=False,
        ),
    ] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            "--classifier",
            help="champion:DATASET or run:ID for features; else the champion, or the last run of "
            "clip-adapter.",
            show_default=False,
        ),
    ] = None,
    width: Annotated[
        str,
        typer.Option(
            "--width", help="Width of the figure with its unit: in, mm or cm; a column has 3.25in."
        ),
    ] = "3.25in",
    font_size: Annotated[
        float, typer.Option("--font-size", help="Size of the text in points.")
    ] = 8,
    dpi: Annotated[int, typer.Option("--dpi", help="Resolution of a .png, in dots an inch.")] = 300,
    title: Annotated[str, typer.Option("--title", help="Title above the figure.")] = "",
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Draw one figure of recorded runs for a paper: SVG, PDF, PNG, or Vega-Lite as JSON.

    Black on white, for colour-blind readers and in shades of grey as well. Nothing is written to the
    store.
    """
    inches = parse_width(width)
    numbers = None if shots is None else parse_shots(shots)
    from clip_adapter import plots  # noqa: PLC0415  # imports what draws

    if figure not in plots.FIGURES:
        raise UnknownNameError("figure", figure, plots.FIGURES)
    target = plots.checked_path(to)
    style = plots.Style.for_print(width=inches, font_size=font_size)
    given: dict[str, Any] = {
        "model": model,
        "methods": methods and parse_names(methods),
        "highlight": highlight and parse_names(highlight),
        "shots": numbers,
        "name": name,
        "classifier": classifier,
    }
    draw = plots.FIGURES[figure]
    chart = draw(dataset, root=root, style=style, title=title, **_arguments(figure, draw, given))
    written = plots.save(chart, target, dpi=dpi)
    if as_json:
        print_json({"figure": figure, "dataset": dataset, "file": written})
        return
    of_method = (
        f", {escape_control_characters(chart.description)}" if figure in OF_ONE_METHOD else ""
    )
    plain_console().print(
        f"{figure} of {escape_control_characters(dataset)}{of_method}, {inches:.2f} in wide, in "
        f"{escape_control_characters(written)}",
        markup=False,
        soft_wrap=True,
    )


def _arguments(figure: str, draw: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as the figure takes them.

    Raises:
        ParameterError: the figure has no such option, or takes one value of it.
    """
    takes = inspect.signature(draw).parameters
    arguments: dict[str, Any] = {}
    for option, value in given.items():
        if value is None:
            continue
        if option == "methods" and "method" in takes:
            arguments["method"] = _single(figure, "--methods", value)
        elif option == "shots" and takes.get("shots") and "method" in takes:
            arguments["shots"] = _single(figure, "--shots", value)
        elif option in takes:
            arguments[option] = value
        else:
            spelt = "--study" if option == "name" else f"--{option}"
            raise ParameterError(f"{spelt} is no option of the figure {figure}: leave it out")
    return arguments


def _single(figure: str, option: str, values: list[Any]) -> Any:
    if len(values) != 1:
        raise ParameterError(f"{option}: {figure} shows one, and {len(values)} are given: name one")
    return values[0]
