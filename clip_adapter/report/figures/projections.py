"""Features before and after the adapter, in two dimensions."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from clip_adapter.report.figures.drawing import (
    Figure,
    Row,
    as_text,
    channels,
    chart_of,
    finish,
    frame_of,
    note,
    series_colour,
    shortened,
    tooltip_of,
    with_values,
)
from clip_adapter.report.figures.style import COLOURS, PAGE, SHAPES, Style

MOST_COLOURED = 10
"""Largest number of classes with a colour; the others are grey."""


def features(points: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Image and text features before and after the adapter, in two panels with the same axes.

    A click on a point or a name brings out its class.

    Args:
        points: `x`, `y`, `class_name`, `state` (before or after the adapter) and `kind` (image or
            text); text features are crosses with a rim.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no point.
    """
    known = with_values(points, "x")
    classes = list(dict.fromkeys(as_text(point["class_name"]) for point in known))
    coloured = sorted(classes[:MOST_COLOURED])
    left, right = min(point["x"] for point in known), max(point["x"] for point in known)
    low, high = min(point["y"] for point in known), max(point["y"] for point in known)
    span, rise = max(right - left, 1e-9), max(high - low, 1e-9)
    u, is_below = style.unit, style.width < 480
    texts = [shortened(name, style, (0.4 if is_below else 0.24) * style.width) for name in coloured]
    margin = 4 * u if is_below else max(map(style.text_width, texts)) + 26 * u
    gap = 1.2 * style.font_size
    side = (style.width - margin - gap - 4 * u) / 2
    height = side * min(1.15, max(0.7, rise / span))
    # One unit is as long across as upwards, so that distances are those of the projection.
    per_pixel = 1.08 * max(span / side, rise / height)
    centre = (left + right) / 2, (low + high) / 2
    n_lines = math.ceil(len(coloured) / 2) if is_below else 0
    frame = frame_of(
        style,
        left=2 * u,
        right=margin,
        bottom=6 * u + 1.35 * style.font_size * n_lines,
        height=height,
        title=title,
        above=1.6 * style.font_size,
    )
    placed = [
        {
            "name": as_text(point["class_name"]),
            "state": point["state"],
            "kind": point["kind"],
            "x": round(
                (point["x"] - centre[0]) / per_pixel
                + side / 2
                + (point["state"] == "after") * (side + gap),
                1,
            ),
            "y": round(height / 2 - (point["y"] - centre[1]) / per_pixel, 1),
        }
        for point in known
    ]
    x = alt.X("x:Q").scale(domain=[0, frame.width], nice=False).axis(None)
    y = alt.Y("y:Q").scale(domain=[height, 0], nice=False).axis(None)
    colours = [series_colour(place, style) for place in range(len(coloured))]
    shapes = [SHAPES[(place + 2 * (place // len(COLOURS))) % 4] for place in range(len(coloured))]
    colour = alt.Color("name:N").scale(domain=coloured, range=colours).legend(None)
    shape = alt.Shape("name:N").scale(domain=coloured, range=shapes).legend(None)
    is_coloured = alt.FieldOneOfPredicate(field="name", oneOf=coloured)
    click = alt.selection_point(name="click", fields=["name"], toggle="true")
    tooltip = tooltip_of(name="class", kind="feature of", state="adapter")
    panels = [{"x": 0, "x2": side}, {"x": side + gap, "x2": side + gap + side}]
    images = [point for point in placed if point["kind"] == "image"]
    words = [point for point in placed if point["kind"] == "text"]
    layers: list[Any] = [
        chart_of([{**panel, "y": 0, "y2": height} for panel in panels], "panels")
        .mark_rect(fillOpacity=0, stroke=style.grey, strokeWidth=0.8 * u, strokeOpacity=0.6)
        .encode(**channels(x=x, x2="x2:Q", y=y, y2="y2:Q")),
        note("before the adapter", style, x=0, y=-0.8 * style.font_size),
        note("after the adapter", style, x=side + gap, y=-0.8 * style.font_size),
    ]
    others = [point for point in images if point["name"] not in coloured]
    dim = alt.when(click, empty=True).then
    if others:
        layers.append(
            chart_of(others, "others")
            .mark_point(filled=True, color=style.grey, size=10 * u * u)
            .encode(
                **channels(
                    x=x,
                    y=y,
                    opacity=dim(alt.value(0.35)).otherwise(alt.value(0.06)),
                    tooltip=tooltip,
                )
            )
        )
    layers.append(
        chart_of([point for point in images if point["name"] in coloured], "images")
        .mark_point(filled=True, size=16 * u * u)
        .encode(
            **channels(
                x=x,
                y=y,
                color=colour,
                shape=shape,
                opacity=dim(alt.value(0.6)).otherwise(alt.value(0.06)),
                tooltip=tooltip,
            )
        )
        .add_params(click)
    )
    if words:
        layers.append(
            chart_of(words, "texts")
            .mark_point(
                shape="cross", filled=True, size=80 * u * u, stroke=style.ink, strokeWidth=1 * u
            )
            .encode(
                **channels(
                    x=x,
                    y=y,
                    color=alt.when(is_coloured).then(colour).otherwise(alt.value(style.grey)),
                    opacity=dim(alt.value(1)).otherwise(alt.value(0.1)),
                    tooltip=tooltip,
                )
            )
        )
    keys = [
        {
            "name": name,
            "label": text,
            "x": 10 * u + (place % 2) * frame.width / 2 if is_below else frame.width + 14 * u,
            "y": height + 6 * u + 1.35 * style.font_size * (place // 2 + 0.5)
            if is_below
            else 1.5 * style.font_size * (place + 0.5),
        }
        for place, (name, text) in enumerate(zip(coloured, texts, strict=True))
    ]
    # Vega-Lite hears no click on a layer without a tooltip.
    key = chart_of(keys, "key").encode(**channels(x=x, y=y, tooltip=tooltip_of(name="class")))
    layers += [
        key.mark_point(filled=True, size=45 * u * u, opacity=1, cursor="pointer").encode(
            **channels(color=colour, shape=shape)
        ),
        key.mark_text(
            align="left",
            baseline="middle",
            dx=8 * u,
            fontSize=style.font_size,
            color=style.ink,
            cursor="pointer",
        ).encode(**channels(text="label:N", opacity=dim(alt.value(1)).otherwise(alt.value(0.4)))),
    ]
    return finish(
        layers,
        frame,
        title=title,
        description="Features before and after the adapter, projected on two principal components",
    )
