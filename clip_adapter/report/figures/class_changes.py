"""Recall of each class before and after adaptation."""

import math
from collections.abc import Sequence

import altair as alt

from clip_adapter.report.figures.drawing import (
    Figure,
    Row,
    as_text,
    channels,
    chart_of,
    finish,
    percent_x,
    row_frame,
    row_labels,
    row_y,
    symbol_key,
    tooltip_of,
    with_field,
    with_values,
)
from clip_adapter.report.figures.style import GAIN, LOSS, PAGE, Style

MOST_CLASSES = 30


def per_class_change(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Recall of each class before and after adaptation, the worst change first.

    Args:
        rows: `class_name`, `recall_zero_shot`, `recall_adapted`, as fractions; `change` is their
            difference where it is not given.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no row.
    """
    changes = [
        {**row, "change": row["recall_adapted"] - row["recall_zero_shot"]}
        for row in with_values(rows, "recall_adapted")
    ]
    largest = sorted(changes, key=lambda row: (-abs(row["change"]), str(row["class_name"])))
    shown = sorted(largest[:MOST_CLASSES], key=lambda row: (row["change"], str(row["class_name"])))
    rest = largest[MOST_CLASSES:]
    subtitle = ""
    if rest:
        subtitle = f"{len(rest):,} more classes change by at most {100 * abs(rest[0]['change']):.1f} points"
    names = [as_text(row["class_name"]) for row in shown]
    points = [
        {
            "name": name,
            "y": place,
            "before": 100 * row["recall_zero_shot"],
            "after": 100 * row["recall_adapted"],
            "change": f"{100 * row['change']:+.1f}",
            "recalls": f"{100 * row['recall_zero_shot']:.1f} to {100 * row['recall_adapted']:.1f} %",
        }
        for place, (name, row) in enumerate(zip(names, shown, strict=True))
    ]
    u = style.unit
    key = [
        ("zero-shot", "circle", style.grey, True),
        ("adapted: gain", "triangle-right", GAIN, True),
        ("adapted: loss", "triangle-left", LOSS, True),
    ]
    frame = row_frame(
        style,
        names,
        title=title,
        subtitle=subtitle,
        right=4.2 * style.font_size,
        lines=1.6,
        keys=[words for words, *_ in key],
    )
    y = row_y(len(names))
    low = min(min(point["before"], point["after"]) for point in points)
    domain = [max(0.0, min(90.0, 10 * math.floor(low / 10)) - 2), 102.0]
    across = percent_x(domain, frame, "recall, % of the images of the class")
    before, after = with_field(across, "before"), with_field(across, "after")
    tooltip = tooltip_of(name="class", recalls="recall", change="change, points")
    layers = row_labels(names, frame)
    for word, colour, shape, of_kind in (
        ("gain", GAIN, "triangle-right", [row for row in points if row["after"] > row["before"]]),
        ("loss", LOSS, "triangle-left", [row for row in points if row["after"] < row["before"]]),
        ("same", style.grey, "circle", [row for row in points if row["after"] == row["before"]]),
    ):
        if not of_kind:
            continue
        base = chart_of(of_kind, word).encode(**channels(y=y, tooltip=tooltip))
        dash = [4 * u, 3 * u] if word == "loss" else [1, 0]
        layers += [
            base.mark_rule(color=colour, strokeWidth=2.2 * u, strokeDash=dash).encode(
                **channels(x=before, x2="after:Q")
            ),
            base.mark_point(
                shape="circle", filled=True, color=style.grey, opacity=1, size=30 * u * u
            ).encode(**channels(x=before)),
            base.mark_point(
                shape=shape, filled=True, color=colour, opacity=1, size=80 * u * u
            ).encode(**channels(x=after)),
        ]
    layers.append(
        chart_of(points, "change")
        .mark_text(align="right", baseline="middle", fontSize=style.font_size, color=style.ink)
        .encode(**channels(x=alt.value(style.width - frame.left - 4 * u), y=y, text="change:N"))
    )
    layers += symbol_key(key, frame)
    return finish(
        layers,
        frame,
        title=title,
        subtitle=subtitle,
        description="Recall of each class before and after adaptation",
    )
