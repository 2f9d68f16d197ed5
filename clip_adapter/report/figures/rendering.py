"""Figures as files: SVG, PNG, PDF and the specification in JSON, without a browser."""

import json
import re
from typing import Any, Final

import altair as alt
import vl_convert

from clip_adapter.errors import ParameterError
from clip_adapter.report.figures.style import PIXELS_AN_INCH, POINTS_AN_INCH

SUFFIXES: Final = (".svg", ".png", ".pdf", ".json")
"""Ends of the names of files that `encode` makes."""
DPI = 300
MOST_DPI = 1200
_SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
_NUMBERS = re.compile(r'(?<=id="clip)\d+(?=")|(?<=url\(#clip)\d+(?=\))')


def svg(chart: alt.TopLevelMixin | dict[str, Any]) -> str:
    """A figure, or its specification, as SVG that runs no script and loads nothing; equal figures give equal bytes."""
    found = chart if isinstance(chart, dict) else specification(chart)
    return _renumbered(vl_convert.vegalite_to_svg(found))


def png(chart: alt.TopLevelMixin, *, dpi: int = DPI) -> bytes:
    """A figure as PNG, of the figure's width in inches times `dpi` pixels.

    Raises:
        ParameterError: `dpi` is too small or too large.
    """
    if not 36 <= dpi <= MOST_DPI:
        raise ParameterError(f"{dpi} dots an inch: expected a number from 36 to {MOST_DPI}")
    # The renderer takes a pixel of SVG for a point, of which an inch has 72.
    scale = POINTS_AN_INCH / PIXELS_AN_INCH
    return bytes(vl_convert.svg_to_png(svg(chart), scale=scale, ppi=dpi))


def pdf(chart: alt.TopLevelMixin) -> bytes:
    """A figure as PDF with its text as text.

    Equal figures look alike; bytes differ, as the renderer writes fonts in no fixed order.
    """
    return bytes(vl_convert.svg_to_pdf(_SIZE.sub(_in_points, svg(chart), count=1)))


def specification(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The specification in Vega-Lite, which vega-embed draws; its expressions are ours alone.

    Numbers have ten digits, which is more than a screen has.
    """
    # Its parts were validated when they were made, which takes longer than all the rest.
    found: dict[str, Any] = _rounded(chart.to_dict(validate=False))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def encode(chart: alt.TopLevelMixin, suffix: str, *, dpi: int = DPI) -> bytes:
    """The content of a file with a figure.

    Args:
        chart: the figure.
        suffix: one of `SUFFIXES`.
        dpi: resolution of a PNG.

    Raises:
        ParameterError: the suffix is none of them, or the resolution is too small or too large.
    """
    if suffix == ".svg":
        return svg(chart).encode()
    if suffix == ".png":
        return png(chart, dpi=dpi)
    if suffix == ".pdf":
        return pdf(chart)
    if suffix == ".json":
        return json.dumps(specification(chart), indent=1, allow_nan=False).encode()
    raise ParameterError(
        f"a figure is no {suffix or 'file without an ending'}: expected {', '.join(SUFFIXES)}"
    )


def warm_up() -> None:
    """Start the renderer, whose first figure takes most of a second."""
    vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point"})


def _in_points(size: re.Match[str]) -> str:
    """The size of a drawing in points, for which the renderer takes its pixels."""
    scale = POINTS_AN_INCH / PIXELS_AN_INCH
    return f'width="{scale * float(size[1]):g}" height="{scale * float(size[2]):g}"'


def _renumbered(drawn: str) -> str:
    """The renderer counts clipping paths over all figures of a process: count from 0 in each."""
    numbers = list(dict.fromkeys(_NUMBERS.findall(drawn)))
    places = {number: place for place, number in enumerate(numbers)}
    return _NUMBERS.sub(lambda found: str(places[found[0]]), drawn)
