"""Accuracy against the setting that a study varies."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt

from clip_adapter.report.figures.drawing import (
    Figure,
    Frame,
    Row,
    as_text,
    channels,
    chart_of,
    end_labels,
    finish,
    frame_of,
    key_height,
    note,
    percent_domain,
    percent_text,
    percent_y,
    pixel_of,
    series_colour,
    series_dash,
    shortened,
    symbol_key,
    tooltip_of,
    value_at,
    with_values,
)
from clip_adapter.report.figures.labels import place_labels
from clip_adapter.report.figures.style import PAGE, SHAPES, Style
from clip_adapter.shots import shots_in_words

if TYPE_CHECKING:
    from clip_adapter.report.studies import Study


def study(found: "Study", *, style: Style = PAGE, title: str = "") -> Figure:
    """Accuracy against the setting that a study varies, a line for each number of shots.

    Args:
        found: the study.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: the study has no accuracy.
    """
    every = sorted({shots for variant in found.variants for shots in variant.means})
    series = [shots_in_words(shots) for shots in every]
    points: list[dict[str, Any]] = [
        {
            "name": name,
            "label": as_text(variant.name),
            "x": variant.position,
            "y": 100 * mean.value,
            "low": None if mean.half_width is None else 100 * max(0.0, mean.low),
            "high": None if mean.half_width is None else 100 * min(1.0, mean.high),
            "accuracy": percent_text(mean.value, mean.half_width),
        }
        for name, shots in zip(series, every, strict=True)
        for variant in found.variants
        if (mean := variant.means.get(shots)) is not None
    ]
    with_values(points, "y")
    is_named = found.scale == "names"
    names = [as_text(variant.name) for variant in found.variants]
    places = {name: place for place, name in enumerate(names)}
    u, domain = style.unit, percent_domain(points)
    right = 1.2 * style.font_size if is_named else max(map(style.text_width, series)) + 34 * u
    width = style.width - 3.2 * style.font_size - right
    room = width / max(1, len(names))
    is_level = not is_named or all(style.text_width(name) <= 0.94 * room for name in names)
    longest = max(style.text_width(shortened(name, style, 0.4 * style.width)) for name in names)
    frame = frame_of(
        style,
        left=3.2 * style.font_size
        if is_level
        else max(3.2 * style.font_size, 0.75 * longest - room / 2),
        right=right,
        bottom=3.4 * style.font_size + (0 if is_level else 0.66 * longest),
        height=min(0.5 * style.width, 360),
        title=title,
        has_axis_title=True,
        above=key_height(series, style) if is_named else 0,
    )
    y = percent_y("y", domain, frame, "test accuracy, %")
    tooltip = tooltip_of(name="shots", label="setting", accuracy="accuracy")
    if is_named:
        return _named_study(
            found, series, points, places, frame=frame, title=title, is_level=is_level
        )
    x = alt.X("x:Q").title(as_text(found.varied)).scale(nice=False, padding=10 * u).axis(grid=False)
    if found.scale == "octaves":
        values = sorted({point["x"] for point in points})
        x = x.scale(type="log", base=2, nice=False, padding=10 * u)
        x = x.axis(values=values, format="d", grid=False)
    layers: list[Any] = []
    for place, name in enumerate(series):
        colour = series_colour(place, style)
        base = chart_of([point for point in points if point["name"] == name], f"series-{place}")
        bars = base.transform_filter("isValid(datum.low)")
        layers += [
            bars.mark_rule(color=colour, strokeWidth=1.4 * u, opacity=0.6, clip=True).encode(
                **channels(x=x, y=percent_y("low", domain, frame, "test accuracy, %"), y2="high:Q")
            ),
            base.mark_line(
                color=colour, strokeWidth=2.2 * u, strokeDash=series_dash(place, u), clip=True
            ).encode(**channels(x=x, y=y)),
            base.mark_point(
                color=colour,
                shape=SHAPES[place % len(SHAPES)],
                filled=True,
                opacity=1,
                size=55 * u * u,
                clip=True,
            ).encode(**channels(x=x, y=y, tooltip=tooltip)),
        ]
    last = {point["name"]: point for point in sorted(points, key=lambda point: point["x"])}
    centres = [pixel_of(last[name]["y"], domain, frame.height) for name in series]
    heights = [1.25 * style.font_size] * len(series)
    at = place_labels(centres, heights, n_required=len(series), low=0, high=frame.height)
    labels = [
        {
            "name": name,
            "label": name,
            "y": last[name]["y"],
            "at": value_at(place or 0.0, domain, frame.height),
        }
        for name, place in zip(series, at, strict=True)
    ]
    layers += end_labels(labels, series, frame, domain=domain, rising=series)
    return finish(
        layers, frame, title=title, description=as_text(f"Accuracy against {found.varied}")
    )


def _named_study(
    found: "Study",
    series: Sequence[str],
    points: Sequence[Row],
    places: Mapping[str, int],
    *,
    frame: Frame,
    title: str,
    is_level: bool,
) -> Figure:
    """Points with intervals above the names of the settings, those of different shots side by side."""
    style, u, domain = frame.style, frame.style.unit, percent_domain(points)
    step = min(0.16, 0.7 / max(1, len(series)))
    x = (
        alt.X("at:Q")
        .title(None)
        .scale(domain=[-0.5, len(places) - 0.5], nice=False)
        .axis(values=[], grid=False, ticks=False, labels=False)
    )
    tooltip = tooltip_of(name="shots", label="setting", accuracy="accuracy")
    layers: list[Any] = []
    for place, name in enumerate(series):
        aside = step * (place - (len(series) - 1) / 2)
        of_one = [
            {**point, "at": places[point["label"]] + aside}
            for point in points
            if point["name"] == name
        ]
        base, colour = (
            chart_of(of_one, f"series-{place}").encode(**channels(x=x)),
            series_colour(place, style),
        )
        layers += [
            base.transform_filter("isValid(datum.low)")
            .mark_rule(color=colour, strokeWidth=1.6 * u, clip=True)
            .encode(**channels(y=percent_y("low", domain, frame, "test accuracy, %"), y2="high:Q")),
            base.mark_point(
                color=colour,
                shape=SHAPES[place % len(SHAPES)],
                filled=True,
                opacity=1,
                size=60 * u * u,
                clip=True,
            ).encode(
                **channels(y=percent_y("y", domain, frame, "test accuracy, %"), tooltip=tooltip)
            ),
        ]
    words = [
        {"name": shortened(name, style, 0.4 * style.width), "at": place}
        for name, place in places.items()
    ]
    tilt: dict[str, Any] = (
        {"align": "center", "baseline": "top"}
        if is_level
        else {"align": "right", "baseline": "middle", "angle": 318}
    )
    layers += [
        chart_of(words, "settings")
        .mark_text(**tilt, fontSize=style.font_size, color=style.ink)
        .encode(**channels(x=x, y=alt.value(frame.height + 0.7 * style.font_size), text="name:N")),
        note(
            found.varied,
            style,
            x=frame.width / 2,
            y=frame.height + frame.bottom - 0.8 * style.font_size,
            align="center",
        ),
        *symbol_key(
            [
                (name, SHAPES[place % len(SHAPES)], series_colour(place, style), True)
                for place, name in enumerate(series)
            ],
            frame,
            y=-2.8 * style.font_size,  # above the title of the axis
        ),
    ]
    return finish(layers, frame, title=title, description=as_text(f"Accuracy by {found.varied}"))
