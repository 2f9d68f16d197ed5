"""Accuracy against the number of labelled images a class."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from clip_adapter.report.figures.drawing import (
    LINE_HEIGHT,
    Figure,
    Frame,
    Row,
    as_text,
    channels,
    chart_of,
    end_labels,
    finish,
    frame_of,
    percent_domain,
    percent_y,
    pixel_of,
    series_colour,
    series_dash,
    tooltip_of,
    value_at,
    with_field,
    with_values,
)
from clip_adapter.report.figures.labels import place_labels
from clip_adapter.report.figures.style import COLOURS, PAGE, SHAPES, Style
from clip_adapter.shots import ALL_SHOTS

MOST_HIGHLIGHTED = 3
"""Largest number of methods that are all at full contrast by default."""


def accuracy(
    rows: Sequence[Row], *, highlight: Sequence[str] = (), style: Style = PAGE, title: str = ""
) -> Figure:
    """Accuracy against the number of labelled images a class, a line for each method.

    A method without shots is a horizontal rule. Pointing at a grey line brings it out, a click keeps it.

    Args:
        rows: `name`, `shots`, `accuracy_mean`, `accuracy_ci95` (half-width, null where there is none), as
            fractions, and `seeds` where known; each name once for each number of shots.
        highlight: names of the methods at full contrast, with their intervals; with three methods or
            fewer, all by default.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: no row has an accuracy.
    """
    known = with_values([row for row in rows if row["accuracy_mean"] is not None], "accuracy_mean")
    names = list(dict.fromkeys(as_text(row["name"]) for row in known))
    chosen = [name for each in highlight if (name := as_text(each)) in names]
    if not chosen and len(names) <= MOST_HIGHLIGHTED:
        chosen = names
    chosen = chosen[: len(COLOURS)]
    end = 2 * max([1, *(row["shots"] for row in known if row["shots"] != ALL_SHOTS)])
    points = [_accuracy_point(row, end) for row in known]
    domain = percent_domain(points)
    rising = [point for point in points if point["x"]]
    flat = [point for point in points if not point["x"]]
    last = {point["name"]: point for point in sorted(points, key=lambda point: point["x"])}

    u = style.unit
    ranked = [*chosen, *sorted(set(names) - {*chosen}, key=lambda name: -last[name]["y"])]
    most = 0.36 * style.width
    texts = {
        name: style.wrapped(f"{name} {last[name]['y']:.1f}" if name in chosen else name, most)
        for name in ranked
    }
    widest = max(style.text_width(line) for lines in texts.values() for line in lines)
    frame = frame_of(
        style,
        left=3.2 * style.font_size,
        right=widest + 32 * u,
        bottom=3.4 * style.font_size if rising else style.font_size,
        height=min(0.56 * style.width, 420),
        title=title,
        has_axis_title=True,
    )
    line_height = LINE_HEIGHT * style.font_size
    heights = [line_height * len(texts[name]) for name in ranked]
    centres = [pixel_of(last[name]["y"], domain, frame.height) for name in ranked]
    places = place_labels(
        centres,
        heights,
        n_required=len(chosen),
        low=-line_height / 2,
        high=frame.height + line_height / 2,
    )
    labels = [
        {
            "name": name,
            "label": "\n".join(texts[name]),
            "y": last[name]["y"],
            "at": None if place is None else value_at(place, domain, frame.height),
        }
        for name, place in zip(ranked, places, strict=True)
    ]

    hover = alt.selection_point(name="hover", fields=["name"], on="pointerover", clear="pointerout")
    click = alt.selection_point(name="click", fields=["name"], toggle="true")

    def out(of: Any, otherwise: Any) -> Any:
        value = alt.value(of)
        pointed = alt.when(hover, empty=False).then(value)
        return pointed.when(click, empty=False).then(value).otherwise(alt.value(otherwise))

    x = _shots_axis(rising, end, style)
    y = percent_y("y", domain, frame, "test accuracy, %")
    tooltip = tooltip_of(name="method", shots="images a class", accuracy="accuracy", seeds="seeds")
    coloured = [name for name in chosen if last[name]["x"]]
    grey = [point for point in rising if point["name"] not in chosen]
    layers: list[Any] = []
    if flat:
        layers.append(_rules(flat, chosen, style).encode(**channels(y=y, tooltip=tooltip)))
    if grey:
        base = chart_of(grey, "others").encode(**channels(x=x, y=y, detail="name:N"))
        layers += [
            base.mark_line(clip=True).encode(
                **channels(
                    color=out(style.ink, style.grey),
                    strokeWidth=out(2.4 * u, 1 * u),
                    opacity=out(1, 0.6),
                )
            ),
            # Wide enough to be pointed at.
            base.mark_line(clip=True, strokeWidth=12 * u, opacity=0, cursor="pointer").add_params(
                hover, click
            ),
            base.mark_point(clip=True, filled=True, size=14 * u * u).encode(
                **channels(color=out(style.ink, style.grey), opacity=out(1, 0.6), tooltip=tooltip)
            ),
        ]
    layers += _highlighted(rising, coloured, x, domain=domain, frame=frame, tooltip=tooltip)
    layers += end_labels(
        labels, chosen, frame, domain=domain, rising=coloured, out=out if grey else None
    )
    return finish(
        layers,
        frame,
        title=title,
        description="Test accuracy against labelled images a class",
    )


def _rules(flat: Sequence[Row], chosen: Sequence[str], style: Style) -> Any:
    """Methods without shots, at full contrast where they are chosen."""
    is_chosen = alt.FieldOneOfPredicate(field="name", oneOf=list(chosen))
    return (
        chart_of(flat, "without-shots")
        .mark_rule(strokeDash=[4, 4], strokeWidth=1.4 * style.unit)
        .encode(
            **channels(
                color=alt.when(is_chosen)
                .then(alt.value(style.ink))
                .otherwise(alt.value(style.grey))
            )
        )
    )


def _accuracy_point(row: Row, end: int) -> dict[str, Any]:
    mean, half = 100 * row["accuracy_mean"], row.get("accuracy_ci95")
    spread = "" if half is None else f" ± {100 * half:.1f}"
    return {
        "name": as_text(row["name"]),
        "x": end if row["shots"] == ALL_SHOTS else row["shots"],
        "y": mean,
        "low": None if half is None else max(0.0, mean - 100 * half),
        "high": None if half is None else min(100.0, mean + 100 * half),
        "accuracy": f"{mean:.1f}{spread} %",
        "shots": _shots(row["shots"]),
        "seeds": row.get("seeds"),
    }


def _shots_axis(rising: Sequence[Row], end: int, style: Style) -> Any:
    values = sorted({point["x"] for point in rising}) or [1]
    # The expression holds numbers of ours alone.
    label = f"datum.value == {end} ? 'all' : datum.label"
    scale: dict[str, Any] = {"type": "log", "base": 2, "nice": False, "padding": 10 * style.unit}
    return (
        alt.X("x:Q")
        .title("labelled images a class")
        .scale(**scale, domain=[0.85 * values[0], 1.18 * max(values[-1], values[0] + 1)])
        .axis(values=values, format="d", labelExpr=label, grid=False)
    )


def _highlighted(
    points: Sequence[Row],
    names: Sequence[str],
    x: Any,
    *,
    domain: list[float],
    frame: Frame,
    tooltip: Any,
) -> list[alt.Chart]:
    """Lines with markers, and intervals as bars, those of different methods side by side."""
    u, layers = frame.style.unit, []
    for place, name in enumerate(names):
        aside = 2 ** (0.07 * (place - (len(names) - 1) / 2))
        of_one = [
            {**point, "aside": point["x"] * aside} for point in points if point["name"] == name
        ]
        colour = series_colour(place, frame.style)
        base = chart_of(of_one, f"highlight-{place}").encode(
            **channels(y=percent_y("y", domain, frame, "test accuracy, %"))
        )
        bars = base.transform_filter("isValid(datum.low)").encode(
            **channels(
                x=with_field(x, "aside"),
                y=percent_y("low", domain, frame, "test accuracy, %"),
                y2="high:Q",
            )
        )
        layers += [
            bars.mark_rule(color=colour, strokeWidth=1.5 * u, opacity=0.75, clip=True),
            base.mark_line(
                color=colour, strokeWidth=2.2 * u, strokeDash=series_dash(place, u), clip=True
            ).encode(**channels(x=x)),
            base.mark_point(
                color=colour,
                filled=True,
                size=55 * u * u,
                opacity=1,
                shape=SHAPES[place % len(SHAPES)],
                clip=True,
            ).encode(**channels(x=x, tooltip=tooltip)),
        ]
    return layers


def _shots(shots: int) -> str:
    return "none" if shots == 0 else "all" if shots == ALL_SHOTS else f"{shots:,}"
