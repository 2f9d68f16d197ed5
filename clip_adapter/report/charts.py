"""Figures: accuracy against shots, and against the setting that a study varies."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import altair as alt
import vl_convert

from clip_adapter.escaping import escape_control_characters
from clip_adapter.report.numbers import Mean
from clip_adapter.report.results import MethodSeries
from clip_adapter.report.studies import Study
from clip_adapter.shots import ALL_SHOTS, shots_in_words

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008,
https://jfly.uni-koeln.de/color/), without yellow, which is hard to see on white."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2])
WIDTH, HEIGHT = 520, 340
NO_LIMIT = 0
"""Width of labels: what tells two methods apart may be the end of their names."""
MOST_LEVEL = 6
"""Most names below an axis that stand side by side; more are turned, as are names of more letters."""
MOST_LETTERS = 24
EDGE = 10
"""Pixels between the outermost points and the frame."""
# The letters of the legend may be wider in a browser than in the renderer, and are not to be cut.
_PADDING = {"left": 5, "top": 5, "bottom": 5, "right": 40}
_CLIP_NUMBERS = re.compile(r'(?<=id="clip)\d+(?=")|(?<=url\(#clip)\d+(?=\))')

_Row = dict[str, Any]


def accuracy_figure(series: Sequence[MethodSeries], *, title: str) -> str:
    """Draw a line for each method with its interval as a band, and a rule for one without shots.

    Returns:
        The figure as SVG.
    """
    end = _place_of_all(series)
    rows = [
        _row(each.name, end if shots == ALL_SHOTS else shots, mean)
        for each in series
        for shots in each.shots
        if (mean := each.mean("accuracy", shots)) is not None
    ]
    rules = [row for row in rows if row["x"] == 0]
    rising = [row for row in rows if row["x"] != 0]
    domain = _domain(rows)
    x = (
        alt.X("x:Q")
        .title("labelled images a class")
        .scale(type="log", base=2, nice=False, padding=EDGE)
    )
    label = f"datum.value == {end} ? 'all' : datum.label"
    x = x.axis(values=_values(rising), format="d", labelExpr=label, grid=False)
    # Without a single number of shots the axis, and with it the picture, would have no size.
    return _svg([*(_lines(rising, x, domain) if rising else []), *_rules(rules, domain)], title)


def study_figure(study: Study, *, title: str) -> str:
    """Draw accuracy against the varied setting, with intervals, one line for each number of shots.

    Returns:
        The figure as SVG.
    """
    rows = [
        _row(shots_in_words(shots), variant.position, mean, variant.name)
        for shots in sorted({shots for variant in study.variants for shots in variant.means})
        for variant in study.variants
        if (mean := variant.means.get(shots)) is not None
    ]
    domain = _domain(rows)
    if study.scale == "names":
        order = [escape_control_characters(variant.name) for variant in study.variants]
        x = alt.X("label:N").title(study.varied).sort(order)
        is_level = len(order) <= MOST_LEVEL and max(map(len, order)) <= MOST_LETTERS
        angle = 0 if is_level else -40
        x = x.axis(labelAngle=angle, labelLimit=NO_LIMIT, grid=False)
        return _svg(_points(rows, x, domain), title)
    x = alt.X("x:Q").title(study.varied).scale(nice=False, padding=EDGE).axis(grid=False)
    if study.scale == "octaves":
        x = x.scale(type="log", base=2, nice=False, padding=EDGE)
        x = x.axis(values=_values(rows), format="d", grid=False)
    return _svg(_lines(rows, x, domain), title)


def warm_up() -> None:
    """Start the renderer, whose first figure takes most of a second."""
    vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point"})


def _place_of_all(series: Sequence[MethodSeries]) -> int:
    """The place of "all" among numbers of shots: an octave to the right."""
    counted = [shots for each in series for shots in each.shots if shots != ALL_SHOTS]
    return 2 * max([1, *counted])


def _row(name: str, x: float, mean: Mean, label: str = "") -> _Row:
    return {
        "name": escape_control_characters(name),
        "x": x,
        "label": escape_control_characters(label),
        "y": 100 * mean.value,
        "low": 100 * max(0.0, mean.low),
        "high": 100 * min(1.0, mean.high),
    }


def _values(rows: Sequence[_Row]) -> list[float]:
    return sorted({row["x"] for row in rows})


def _domain(rows: Sequence[_Row]) -> list[float]:
    """A range around the means; the wide interval of two seeds would flatten all lines."""
    low, high = min(row["y"] for row in rows), max(row["y"] for row in rows)
    margin = max(2.0, 0.25 * (high - low))
    return [max(0.0, low - margin), min(100.0, high + margin)]


def _y(name: str, domain: list[float]) -> alt.Y:
    return alt.Y(f"{name}:Q").title("test accuracy, %").scale(domain=domain, nice=False)


def _lines(rows: list[_Row], x: alt.X, domain: list[float]) -> list[alt.Chart]:
    """Bands, lines and points: colours and shapes first, then dashes, so that 7 x 3 stay apart."""
    series = _series(rows)
    dashes = [list(DASHES[place // len(COLOURS) % len(DASHES)]) for place in range(len(series))]
    dash = alt.StrokeDash("name:N").title(None).scale(domain=series, range=dashes)
    base = _data(rows).encode(x=x, color=_colour(series))
    return [
        base.mark_area(opacity=0.1, clip=True).encode(y=_y("low", domain), y2="high:Q"),
        base.mark_line(strokeWidth=2, clip=True).encode(y=_y("y", domain), strokeDash=dash),
        base.mark_point(size=55, filled=True, opacity=1, clip=True).encode(
            y=_y("y", domain), shape=_shape(series)
        ),
    ]


def _points(rows: list[_Row], x: alt.X, domain: list[float]) -> list[alt.Chart]:
    """Points with their intervals, those of different shots side by side."""
    series = _series(rows)
    offset = alt.XOffset("name:N").sort(series).scale(paddingInner=0.5, paddingOuter=1)
    base = _data(rows).encode(x=x, xOffset=offset, color=_colour(series))
    return [
        base.mark_rule(strokeWidth=2, clip=True).encode(y=_y("low", domain), y2="high:Q"),
        base.mark_point(size=70, filled=True, opacity=1, clip=True).encode(
            y=_y("y", domain), shape=_shape(series)
        ),
    ]


def _rules(rules: list[_Row], domain: list[float]) -> list[alt.Chart]:
    if not rules:
        return []
    base = _data(rules).encode(y=_y("y", domain))
    return [
        base.mark_rule(strokeDash=[4, 4], color="#555", strokeWidth=1.5),
        base.mark_text(align="right", dx=-4, dy=-6, color="#333").encode(
            x=alt.value(WIDTH), text="name:N"
        ),
    ]


def _series(rows: Sequence[_Row]) -> list[str]:
    return list(dict.fromkeys(row["name"] for row in rows))


def _colour(series: list[str]) -> alt.Color:
    colours = list(itertools.islice(itertools.cycle(COLOURS), len(series)))
    colour = alt.Color("name:N").title(None).scale(domain=series, range=colours)
    return colour.legend(labelLimit=NO_LIMIT, symbolOpacity=1)


def _shape(series: list[str]) -> alt.Shape:
    shapes = list(itertools.islice(itertools.cycle(SHAPES), len(series)))
    return alt.Shape("name:N").title(None).scale(domain=series, range=shapes)


def _data(rows: list[_Row]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _svg(layers: list[alt.Chart], title: str) -> str:
    finished = (
        alt.layer(*layers)
        .properties(
            width=WIDTH, height=HEIGHT, title=escape_control_characters(title), padding=_PADDING
        )
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal")
        .configure_legend(labelFontSize=11, orient="right")
        .configure_title(fontSize=13, anchor="start", offset=12)
    )
    return _renumbered(vl_convert.vegalite_to_svg(finished.to_dict()))


def _renumbered(svg: str) -> str:
    """The renderer counts clipping paths over all figures of a process: count from 0 in each."""
    numbers = list(dict.fromkeys(_CLIP_NUMBERS.findall(svg)))
    places = {number: place for place, number in enumerate(numbers)}
    return _CLIP_NUMBERS.sub(lambda found: str(places[found[0]]), svg)
