"""The parts that figures have in common: frames, axes, labels, keys, and the finished chart."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from clip_adapter.errors import DataError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.report.figures.rendering import specification, svg
from clip_adapter.report.figures.style import COLOURS, DASHES, SHAPES, Style

Row = Mapping[str, Any]
"""A row of SQL."""
KEY_LINE = 1.4
"""Distance of lines of a key, in sizes of the font."""
LINE_HEIGHT = 1.25
"""Distance of lines of text, in sizes of the font."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The space of a figure: that of the drawing, and the margins around it, in pixels."""

    style: Style
    left: float
    right: float
    top: float
    bottom: float
    height: float

    @property
    def width(self) -> float:
        return self.style.width - self.left - self.right


def frame_of(
    style: Style,
    *,
    left: float,
    right: float,
    bottom: float,
    height: float,
    title: str,
    subtitle: str = "",
    has_axis_title: bool = False,
    above: float = 0,
) -> Frame:
    size = style.font_size
    top = above + (2.0 * size if has_axis_title else 0.4 * size)
    top += (1.9 * size if title else 0) + (1.5 * size if subtitle else 0)
    return Frame(style=style, left=left, right=right, top=top, bottom=bottom, height=height)


def row_frame(
    style: Style,
    names: Sequence[str],
    *,
    title: str,
    lines: float,
    keys: Sequence[str],
    subtitle: str = "",
    right: float | None = None,
) -> Frame:
    widest = max(style.text_width(as_text(line)) for name in names for line in name.split("\n"))
    return frame_of(
        style,
        left=min(widest, 0.45 * style.width) + 12 * style.unit,
        right=1.2 * style.font_size if right is None else right,
        bottom=3.4 * style.font_size,
        height=lines * style.font_size * len(names),
        title=title,
        subtitle=subtitle,
        above=key_height(keys, style),
    )


def channels(**given: Any) -> dict[str, Any]:
    """Channels as Altair's classes.

    Those that are given as text or as `alt.value` Altair would look for in its whole schema, 5 ms each.
    """
    return {name: _channel(name, each) for name, each in given.items()}


def _channel(name: str, given: Any) -> Any:
    kind = f"{name[0].upper()}{name[1:]}"
    if isinstance(given, str):
        return getattr(alt, kind)(given)
    if isinstance(given, dict):
        return getattr(alt, f"{kind}Value" if "value" in given else kind)(**given)
    return given


def chart_of(rows: Sequence[Row], name: str) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)), name=name)


class Figure(alt.LayerChart):
    """A chart that a notebook shows without loading anything, whatever the names in it."""

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        # Altair's own HTML loads scripts from elsewhere, and has names in a script as they are.
        return {"image/svg+xml": svg(self), "application/vnd.vegalite.v6+json": specification(self)}


def layered(layers: Sequence[alt.Chart]) -> Figure:
    """The layers with different names, which are the classes of their marks in SVG."""
    counts: Counter[str] = Counter()
    named = []
    for layer in layers:
        copied = layer.copy(deep=False)
        counts[copied.name] += 1
        copied.name = (
            f"{copied.name}-{counts[layer.name]}" if counts[layer.name] > 1 else layer.name
        )
        named.append(copied)
    return Figure(layer=named)


def finish(
    layers: Sequence[alt.Chart], frame: Frame, *, title: str, description: str, subtitle: str = ""
) -> Figure:
    """The chart in its frame. Margins are given, not found, so that the whole has the asked size."""
    style, u = frame.style, frame.style.unit
    left, top = 2 * u - frame.left, -frame.top
    headings = []
    if title:
        bold = note(title, style, x=left, y=top + 1.1 * style.font_size, name="title", is_bold=True)
        headings.append(bold)
        top += 1.9 * style.font_size
    if subtitle:
        headings.append(
            note(subtitle, style, x=left, y=top + 0.9 * style.font_size, name="subtitle")
        )
    config = alt.Config(
        aria=False,
        font=style.font,
        background=style.background or "transparent",
        view=alt.ViewConfig(stroke=None, fill=None),
        axis=alt.AxisConfig(
            labelFontSize=style.font_size,
            labelColor=style.ink,
            labelOverlap=True,
            titleFontSize=style.font_size,
            titleFontWeight="normal",
            titleColor=style.ink,
            titlePadding=0.5 * style.font_size,
            domainColor=style.grey,
            tickColor=style.grey,
            tickSize=4 * u,
            gridColor=style.grey,
            gridOpacity=0.25,
            gridWidth=0.8 * u,
        ),
    )
    padding = {"left": frame.left, "right": frame.right, "top": frame.top, "bottom": frame.bottom}
    return layered([*layers, *headings]).properties(
        width=frame.width,
        height=frame.height,
        padding=padding,
        autosize=alt.AutoSizeParams(type="none"),
        description=as_text(f"{title}: {description}" if title else description),
        config=config,
    )


def percent_y(
    field: str,
    domain: Sequence[float],
    frame: Frame,
    title: str,
    values: Sequence[float] | None = None,
) -> alt.Y:
    """An axis of percentages with its title above it, where it is read without turning the head."""
    axis: dict[str, Any] = {"values": list(values)} if values else {"tickCount": 6}
    return (
        alt.Y(f"{field}:Q")
        .title(title)
        .scale(domain=list(domain), nice=False)
        .axis(
            **axis,
            titleAngle=0,
            titleAlign="left",
            titleBaseline="bottom",
            titleX=-frame.left + 2,
            titleY=-0.7 * frame.style.font_size,
            domain=False,
            ticks=False,
        )
    )


def percent_x(domain: Sequence[float], frame: Frame, title: str) -> alt.X:
    return (
        alt.X("x:Q")
        .title(title)
        .scale(domain=list(domain), nice=False)
        .axis(
            tickCount=max(3, int(frame.width / (5 * frame.style.font_size))),
            domain=False,
            ticks=False,
        )
    )


def row_y(n: int) -> alt.Y:
    """Rows from the top down, without an axis: their names are text of the figure's own."""
    return alt.Y("y:Q").scale(domain=[n - 0.5, -0.5], nice=False).axis(None)


def with_field(channel: Any, field: str) -> Any:
    """A copy of an axis with the values of another field."""
    other = channel.copy()
    other.shorthand = f"{field}:Q"
    return other


def percent_domain(points: Sequence[Row]) -> list[float]:
    """A range around the means; the wide interval of two seeds would flatten all lines."""
    low, high = min(point["y"] for point in points), max(point["y"] for point in points)
    margin = max(2.0, 0.12 * (high - low))
    return [max(0.0, low - margin), min(100.0, high + margin)]


def pixel_of(value: float, domain: Sequence[float], height: float) -> float:
    return height * (domain[1] - value) / (domain[1] - domain[0])


def value_at(pixel: float, domain: Sequence[float], height: float) -> float:
    return domain[1] - pixel * (domain[1] - domain[0]) / height


def row_labels(
    names: Sequence[str], frame: Frame, *, offset: float = 0, y: alt.Y | None = None
) -> list[Any]:
    style = frame.style
    room = frame.left - 10 * style.unit
    rows = [
        {
            "name": "\n".join(shortened(line, style, room) for line in name.split("\n")),
            "y": place + offset,
        }
        for place, name in enumerate(names)
    ]
    line_height = LINE_HEIGHT * style.font_size
    n_lines = max(name.count("\n") + 1 for name in names)
    return [
        chart_of(rows, "rows")
        .mark_text(
            align="right",
            baseline="middle",
            lineBreak="\n",
            lineHeight=line_height,
            dy=-line_height * (n_lines - 1) / 2,  # "middle" is that of the first line
            fontSize=style.font_size,
            color=style.ink,
        )
        .encode(**channels(x=alt.value(-8 * style.unit), y=y or row_y(len(names)), text="name:N"))
    ]


def end_labels(
    labels: Sequence[Row],
    chosen: Sequence[str],
    frame: Frame,
    *,
    domain: Sequence[float],
    rising: Sequence[str],
    out: Callable[[Any, Any], Any] | None = None,
) -> list[alt.Chart]:
    """Names at the right end of lines, each joined to its line, in the order of `place_labels`.

    Args:
        labels: `name`, `label`, `y` where its line ends, and `at` where the label stands, null where it
            found no place: it is shown in the drawing while its line is brought out.
        chosen: names of the series at full contrast.
        frame: space of the figure.
        domain: range of the axis.
        rising: names of the series with a symbol, in the order of their colours.
        out: what a property is while a series is brought out, and otherwise; None where none is.
    """
    style, u = frame.style, frame.style.unit
    font: dict[str, Any] = {
        "fontSize": style.font_size,
        "baseline": "middle",
        "lineBreak": "\n",
        "lineHeight": LINE_HEIGHT * style.font_size,
        "align": "left",
    }
    end = percent_y("y", domain, frame, "test accuracy, %")
    at = with_field(end, "at")
    layers = []
    for place, label in enumerate(each for each in labels if each["at"] is not None):
        name, is_chosen = label["name"], label["name"] in chosen
        has_symbol = is_chosen and name in rising
        series = rising.index(name) if has_symbol else 0
        colour = series_colour(series, style) if has_symbol else style.grey
        base = chart_of([label], f"label-{place}")
        text = base.mark_text(
            **font,
            # "middle" is that of the first line.
            dy=-LINE_HEIGHT * style.font_size * label["label"].count("\n") / 2,
            fontWeight="bold" if is_chosen else "normal",
            color=style.ink if is_chosen else style.grey,
            cursor="pointer" if out else "default",
        ).encode(
            **channels(
                x=alt.value(frame.width + (27 if has_symbol else 18) * u), y=at, text="label:N"
            )
        )
        if out and not is_chosen:
            # Vega-Lite hears no pointer on a layer without a tooltip.
            text = text.encode(
                **channels(color=out(style.ink, style.grey), tooltip=tooltip_of(name="method"))
            )
        layers += [
            base.mark_rule(color=colour, strokeWidth=0.8 * u, opacity=0.8).encode(
                **channels(
                    x=alt.value(frame.width + 2 * u),
                    x2=alt.value(frame.width + 14 * u),
                    y=end,
                    y2="at:Q",
                )
            ),
            text,
        ]
        if has_symbol:
            layers.append(
                base.mark_point(
                    shape=SHAPES[series % len(SHAPES)],
                    color=colour,
                    filled=True,
                    opacity=1,
                    size=45 * u * u,
                ).encode(**channels(x=alt.value(frame.width + 19 * u), y=at))
            )
    hidden = [label for label in labels if label["at"] is None]
    if hidden and out:
        layers.append(
            chart_of(hidden, "label-hidden")
            .mark_text(**{**font, "align": "right"}, dy=-9 * u, fontWeight="bold", color=style.ink)
            .encode(
                **channels(
                    x=alt.value(frame.width - 4 * u), y=end, text="label:N", opacity=out(1, 0)
                )
            )
        )
    return layers


def note(
    text: str,
    style: Style,
    *,
    x: float,
    y: float,
    align: Any = "left",
    name: str = "note",
    is_bold: bool = False,
) -> alt.Chart:
    """A text at a distance in pixels from the left and the top of the drawing."""
    drawn: alt.Chart = (
        chart_of([{"note": as_text(text)}], name)
        .mark_text(
            align=align,
            baseline="middle",
            fontSize=style.font_size,
            fontWeight="bold" if is_bold else "normal",
            color=style.ink,
        )
        .encode(**channels(x=alt.value(x), y=alt.value(y), text="note:N"))
    )
    return drawn


def key_height(words: Sequence[str], style: Style) -> float:
    """Height of a key above the drawing, which has more than one line where the figure is narrow."""
    return 0.6 * style.font_size + KEY_LINE * style.font_size * (
        1 + max(line for line, _ in _key_places(words, style))
    )


def _key_places(words: Sequence[str], style: Style) -> list[tuple[int, float]]:
    """The line, from the top, and the distance from its start of each symbol of a key."""
    places, line, across = [], 0, 0.0
    for each in words:
        width = style.text_width(each) + 26 * style.unit
        if across and across + width > style.width:
            line, across = line + 1, 0.0
        places.append((line, across))
        across += width
    return places


def symbol_key(
    entries: Sequence[tuple[str, str, str, bool]],
    frame: Frame,
    *,
    x: float | None = None,
    y: float | None = None,
    is_column: bool = False,
) -> list[Any]:
    """What symbols mean: words, shape, colour, and whether it is filled.

    Args:
        entries: words, shape, colour and whether it is filled, of each symbol.
        frame: space of the figure.
        x: distance of the first symbol from the left of the drawing; the key begins there where it has
            room, else at the left edge of the figure, when None.
        y: distance of its last line, or of the first in a column, from the top of the drawing.
        is_column: whether each symbol has a line.
    """
    style, u = frame.style, frame.style.unit
    names = [words for words, *_ in entries]
    places = [(line, 0.0) for line in range(len(names))] if is_column else _key_places(names, style)
    total = sum(style.text_width(words) + 26 * u for words in names)
    start = 8 * u if total <= frame.width + frame.right else 8 * u - frame.left
    first = -1.1 * style.font_size if y is None else y
    if not is_column:
        first -= KEY_LINE * style.font_size * max(line for line, _ in places)
    layers: list[Any] = []
    for (words, shape, colour, filled), (line, along) in zip(entries, places, strict=True):
        across = along + (start if x is None else x)
        down = first + KEY_LINE * style.font_size * line
        layers += [
            chart_of([{}], "key")
            .mark_point(
                shape=shape,
                angle=90 if shape == "stroke" else 0,
                color=colour,
                filled=filled,
                opacity=1,
                size=55 * u * u,
                strokeWidth=1.8 * u,
            )
            .encode(**channels(x=alt.value(across), y=alt.value(down))),
            note(words, style, x=across + 8 * u, y=down),
        ]
    return layers


def tooltip_of(**titles: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def series_colour(place: int, style: Style) -> str:
    colour = COLOURS[place % len(COLOURS)]
    return style.ink if colour == "#000000" else colour  # black is not seen on dark pages


def series_dash(place: int, unit: float) -> list[float]:
    dash = DASHES[place % len(DASHES)]
    return [1, 0] if dash == [1, 0] else [length * unit for length in dash]


def shortened(text: str, style: Style, width: float) -> str:
    """A text in one line, with an ellipsis in its middle where it is too long: ends tell names apart."""
    shown = as_text(text)
    if style.text_width(shown) <= width:
        return shown
    half = max(2, int(width / (1.2 * style.font_size)) - 1)
    return f"{shown[:half]}…{shown[-half:]}"


def as_text(value: object) -> str:
    return escape_control_characters(value)


def with_values(rows: Sequence[Any], column: str) -> list[Any]:
    known = [row for row in rows if row[column] is not None]
    if not known:
        raise DataError(
            f"there is nothing to draw: expected one row or more with a value of {column}"
        )
    return known


def percent_text(fraction: float | None, half: float | None = None) -> str:
    if fraction is None:
        return "unknown"
    return f"{100 * fraction:.1f}{'' if half is None else f' ± {100 * half:.1f}'} %"


def and_more(count: int, things: str) -> str:
    return f"and {count:,} more {things}" if count > 0 else ""
