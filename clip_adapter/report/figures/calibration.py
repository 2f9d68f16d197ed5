"""Confidence against accuracy."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt

from clip_adapter.report.figures.drawing import (
    Figure,
    Row,
    channels,
    chart_of,
    finish,
    frame_of,
    note,
    percent_y,
    series_dash,
    symbol_key,
    tooltip_of,
    with_field,
    with_values,
)
from clip_adapter.report.figures.style import COLOURS, PAGE, Style


def reliability(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Accuracy against confidence before and after temperature scaling, with the number of images below.

    Args:
        rows: `temperature` (before or after), `bin` (of ten, from 0), `n`, `confidence` and
            `accuracy`, fractions, as the saved question `calibration` gives them; rows of one bin are
            added up.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no row.
    """
    points = _bins(with_values(rows, "accuracy"))
    kinds = [
        (word, colour, shape, [point for point in points if point["kind"] == word])
        for word, colour, shape in (
            ("before", COLOURS[1], "square"),
            ("after", COLOURS[0], "circle"),
        )
    ]
    kinds = [kind for kind in kinds if kind[3]]
    u = style.unit
    side = min(style.width - 4.4 * style.font_size, 360)
    frame = frame_of(
        style,
        left=3.4 * style.font_size,
        right=style.width - 3.4 * style.font_size - side,
        bottom=3.4 * style.font_size,
        height=side * 1.25,
        title=title,
        has_axis_title=True,
    )
    most = max(point["n"] for point in points)
    ticks = [0, 20, 40, 60, 80, 100]
    x = (
        alt.X("x:Q")
        .title("confidence, %")
        .scale(domain=[0, 100], nice=False)
        .axis(values=ticks, grid=False)
    )
    y = percent_y("y", [-25.0, 100.0], frame, "accuracy, %", values=ticks)
    tooltip = tooltip_of(
        kind="temperature scaling", confidence="confidence", accuracy="accuracy", n="images"
    )
    layers: list[Any] = [
        chart_of([{"x": 0, "y": 0, "x2": 100, "y2": 100}], "diagonal")
        .mark_rule(color=style.grey, strokeDash=[4, 4], strokeWidth=1.2 * u)
        .encode(**channels(x=x, y=y, x2="x2:Q", y2="y2:Q")),
        chart_of([{"y": 0}], "zero")
        .mark_rule(color=style.grey, strokeWidth=0.8 * u)
        .encode(**channels(y=y)),
    ]
    width = 4.2 if len(kinds) > 1 else 8.4
    for place, (word, colour, shape, of_kind) in enumerate(kinds):
        bars = [
            {
                **point,
                "left": 10 * point["bin"] + 0.8 + place * width,
                "right": 10 * point["bin"] + 0.8 + (place + 1) * width - 0.3,
                "foot": -25,
                "top": -25 + 17 * point["n"] / most,
            }
            for point in of_kind
        ]
        base = chart_of(of_kind, word).encode(**channels(x=x, y=y))
        layers += [
            chart_of(bars, f"count-{word}")
            .mark_rect(color=colour, opacity=0.9 if place else 0.45)
            .encode(
                **channels(
                    x=with_field(x, "left"),
                    x2="right:Q",
                    y=with_field(y, "foot"),
                    y2="top:Q",
                    tooltip=tooltip,
                )
            ),
            base.mark_line(
                color=colour, strokeWidth=2 * u, strokeDash=series_dash(len(kinds) - 1 - place, u)
            ),
            base.mark_point(
                color=colour,
                shape=shape,
                size=55 * u * u,
                filled=word == "after",
                opacity=1,
                strokeWidth=1.6 * u,
            ).encode(**channels(tooltip=tooltip)),
        ]
    entries = [
        (f"{word} temperature scaling", shape, colour, word == "after")
        for word, colour, shape, _ in kinds
    ]
    # Beside the square where there is room, else inside, where few classifiers have points.
    widest = max(style.text_width(words) for words, *_ in entries) + 40 * u
    across = side + 16 * u if style.width - frame.left - side > widest else 10 * u
    layers += symbol_key(entries, frame, x=across, y=0.9 * style.font_size, is_column=True)
    layers.append(
        note(
            f"images, up to {most:,}",
            style,
            x=side - 2,
            y=side + 0.9 * style.font_size,
            align="right",
        )
    )
    return finish(layers, frame, title=title, description="Accuracy against confidence")


def _bins(rows: Iterable[Row]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    for row in rows:
        found = sums[row["temperature"], row["bin"]]
        found[0] += row["n"]
        found[1] += row["n"] * row["confidence"]
        found[2] += row["n"] * row["accuracy"]
    return [
        {
            "kind": kind,
            "bin": place,
            "n": int(n),
            "x": 100 * confidence / n,
            "y": 100 * hits / n,
            "confidence": f"{100 * confidence / n:.1f} %",
            "accuracy": f"{100 * hits / n:.1f} %",
        }
        for (kind, place), (n, confidence, hits) in sorted(sums.items())
        if n
    ]
