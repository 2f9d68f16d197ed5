"""Which classes are taken for which."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from clip_adapter.errors import DataError
from clip_adapter.report.figures.drawing import (
    Figure,
    Row,
    as_text,
    channels,
    chart_of,
    finish,
    frame_of,
    note,
    row_labels,
    shortened,
    tooltip_of,
    with_field,
)
from clip_adapter.report.figures.style import LOSS, PAGE, Style

MOST_CONFUSED = 12
"""Largest number of classes in the map."""


def confusion(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Shares of the images of a class by predicted class, for the classes that are confused most.

    Args:
        rows: `class_name`, `predicted_name`, `share` (of the images of the class, a fraction) and `n`,
            those that are classified correctly as well.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: no image is classified wrongly.
    """
    shares = {(as_text(row["class_name"]), as_text(row["predicted_name"])): row for row in rows}
    wrong = sorted(
        (pair for pair in shares if pair[0] != pair[1]),
        key=lambda pair: (-float(shares[pair]["share"]), pair),
    )
    if not wrong:
        raise DataError("no image is classified wrongly: there is no confusion to draw")
    chosen: list[str] = []
    for pair in wrong:
        added = [name for name in dict.fromkeys(pair) if name not in chosen]
        if len(chosen) + len(added) <= MOST_CONFUSED:
            chosen += added
    every = {name for pair in shares for name in pair}
    subtitle = ""
    if len(chosen) < len(every):
        subtitle = f"the {len(chosen)} of {len(every):,} classes with the most confused pairs"
    u, n = style.unit, len(chosen)
    longest = max(style.text_width(name) for name in chosen)
    left = min(longest, 0.3 * style.width) + 12 * u
    # Other classes have a column, so that the shares of a row add up to 1.
    rest = "others"
    while rest in every:  # a class may be called so
        rest = f"all {rest}"
    columns = [*chosen, rest] if subtitle else chosen
    cell = (style.width - left - 0.42 * min(longest, 0.3 * style.width)) / len(columns)
    cell = min(cell, 4.6 * style.font_size)
    tilt = min(longest, 0.3 * style.width) * 0.72 + 1.6 * style.font_size
    frame = frame_of(
        style,
        left=left,
        right=style.width - left - cell * len(columns),
        bottom=0.6 * style.font_size,
        height=min(cell, 2.6 * style.font_size) * n,
        title=title,
        subtitle=subtitle,
        above=tilt + 1.4 * style.font_size,
    )
    cells = [
        _cell(shares, name, other, columns, (place, across))
        for place, name in enumerate(chosen)
        for across, other in enumerate(columns)
    ]
    x = alt.X("x:Q").scale(domain=[0, len(columns)], nice=False).axis(None)
    y = alt.Y("y:Q").scale(domain=[n, 0], nice=False).axis(None)
    tooltip = tooltip_of(name="class", predicted="classified as", share="share", n="images")
    fits = cell >= 2.9 * style.font_size
    layers = []
    for word, colour, of_kind in (
        ("wrong", LOSS, [each for each in cells if not each["is_right"]]),
        ("right", style.grey, [each for each in cells if each["is_right"]]),
    ):
        if not of_kind:
            continue
        layers.append(
            chart_of(of_kind, word)
            .mark_rect(color=colour, stroke=style.grey, strokeOpacity=0.35, strokeWidth=0.5)
            .encode(
                **channels(
                    x=x,
                    x2="x2:Q",
                    y=y,
                    y2="y2:Q",
                    fillOpacity=alt.FillOpacity("strength:Q", scale=None),
                    tooltip=tooltip,
                )
            )
        )
    small: dict[str, Any] = {
        "fontSize": style.font_size if fits else 0.82 * style.font_size,
        "baseline": "middle",
    }
    layers.append(
        chart_of([each for each in cells if each["text"]], "share")
        .mark_text(**small, color=style.ink)
        .encode(**channels(x=with_field(x, "centre"), y=with_field(y, "middle"), text="text:N"))
    )
    layers += [
        *row_labels(chosen, frame, offset=0.5, y=y),
        chart_of(
            [
                {"name": shortened(name, style, 0.3 * style.width), "x": i + 0.5}
                for i, name in enumerate(columns)
            ],
            "columns",
        )
        .mark_text(
            align="left", baseline="middle", angle=315, fontSize=style.font_size, color=style.ink
        )
        .encode(**channels(x=x, y=alt.value(-0.8 * style.font_size), text="name:N")),
        note(
            "% of the images of a class, classified as →",
            style,
            x=2 * u - frame.left,
            y=-tilt - 0.7 * style.font_size,
        ),
    ]
    return finish(
        layers,
        frame,
        title=title,
        subtitle=subtitle,
        description="Share of the images of each class by predicted class, in percent",
    )


def _cell(
    shares: Mapping[tuple[str, str], Row],
    name: str,
    other: str,
    columns: Sequence[str],
    at: tuple[int, int],
) -> dict[str, Any]:
    row = shares.get((name, other))
    share, n = (float(row["share"]), row["n"]) if row else (0.0, 0)
    if not row and other == columns[-1]:
        rest = [shares[pair] for pair in shares if pair[0] == name and pair[1] not in columns]
        share, n = sum(float(each["share"]) for each in rest), sum(each["n"] for each in rest)
    place, across = at
    return {
        "name": name,
        "predicted": other,
        "share": f"{100 * share:.1f} %",
        "n": n,
        "text": f"{100 * share:.0f}" if share >= 0.005 else "<1" if share > 0 else "",
        "is_right": name == other,
        "strength": (0.35 if name == other else 0.8) * math.sqrt(share),
        "x": across,
        "x2": across + 1,
        "y": place,
        "y2": place + 1,
        "centre": across + 0.5,
        "middle": place + 0.5,
    }
