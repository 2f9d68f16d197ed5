"""Decisions on the champion of a dataset."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import altair as alt

from clip_adapter.report.figures.drawing import (
    Figure,
    Row,
    and_more,
    as_text,
    channels,
    chart_of,
    finish,
    percent_domain,
    percent_text,
    percent_x,
    row_frame,
    row_labels,
    row_y,
    symbol_key,
    tooltip_of,
    with_field,
    with_values,
)
from clip_adapter.report.figures.style import COLOURS, PAGE, Style

MOST_DECISIONS = 30
BEFORE = "champion before"


def champions(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Decisions on the champion of a dataset, the latest first: challenger against champion.

    Args:
        rows: `decided_at`, `decision` (promoted, refused or rolled back), `method`,
            `accuracy_challenger` and `accuracy_champion`, fractions or null, and where known `low` and
            `high`, the interval of their difference.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no row.
    """
    # By number, as clocks are set back; rows without one by time.
    ordered = sorted(
        with_values(rows, "decided_at"),
        key=lambda row: (row.get("sequence") or 0, row["decided_at"]),
        reverse=True,
    )
    shown, n_more = ordered[:MOST_DECISIONS], len(ordered) - MOST_DECISIONS
    is_narrow = style.width < 480  # symbols alone tell the decision
    gap = "\n" if is_narrow else "  "
    names = [f"{_day(row['decided_at'])}{gap}{as_text(row['method'])}" for row in shown]
    kinds: Mapping[str, tuple[str, str, bool]] = {
        "promoted": ("triangle-up", COLOURS[0], True),
        "refused": ("circle", COLOURS[1], False),
        "rolled back": ("square", COLOURS[3], True),
    }
    points: list[dict[str, Any]] = [
        {
            "name": as_text(name.replace("\n", " ")),
            "y": place,
            "decision": as_text(row["decision"]),
            "challenger": None if accuracy is None else 100 * accuracy,
            "champion": None if before is None else 100 * before,
            "low": None if low is None or before is None else 100 * (before + low),
            "high": None if high is None or before is None else 100 * (before + high),
            "accuracies": f"{percent_text(accuracy)} against {percent_text(before)}",
        }
        for place, (name, row) in enumerate(zip(names, shown, strict=True))
        for accuracy, before in [(row["accuracy_challenger"], row["accuracy_champion"])]
        for low, high in [(row.get("low"), row.get("high"))]
    ]
    measured = [point for point in points if point["challenger"] is not None]
    u = style.unit
    subtitle = and_more(n_more, "earlier decisions")
    widest = max(style.text_width(point["decision"]) for point in points)
    right = 1.2 * style.font_size if is_narrow else widest + 12 * u
    frame = row_frame(
        style,
        names,
        title=title,
        subtitle=subtitle,
        right=right,
        lines=2.8 if is_narrow else 1.7,
        keys=[*kinds, BEFORE],
    )
    both = [
        point[column] for point in measured for column in ("challenger", "champion", "low", "high")
    ]
    domain = percent_domain([{"y": value} for value in both if value is not None] or [{"y": 50}])
    x, y = percent_x(domain, frame, "accuracy on validation images, %"), row_y(len(names))
    tooltip = tooltip_of(name="decision on", decision="decision", accuracies="accuracy")
    layers: list[Any] = row_labels(names, frame)
    base = chart_of(points, "decisions").encode(**channels(y=y, tooltip=tooltip))
    bars = base.transform_filter("isValid(datum.low)")
    layers += [
        bars.mark_rule(color=style.grey, strokeWidth=1.5 * u, clip=True).encode(
            **channels(x=with_field(x, "low"), x2="high:Q")
        ),
        base.transform_filter("isValid(datum.champion)")
        .mark_tick(color=style.ink, thickness=2 * u, size=1.1 * style.font_size, orient="vertical")
        .encode(**channels(x=with_field(x, "champion"))),
    ]
    present = []
    for word, (shape, colour, filled) in kinds.items():
        of_kind = [point for point in measured if point["decision"] == word]
        if of_kind:
            present.append((word, shape, colour, filled))
            layers.append(
                chart_of(of_kind, word.replace(" ", "-"))
                .mark_point(
                    shape=shape,
                    color=colour,
                    filled=filled,
                    opacity=1,
                    size=70 * u * u,
                    strokeWidth=1.8 * u,
                )
                .encode(**channels(x=with_field(x, "challenger"), y=y, tooltip=tooltip))
            )
    if not is_narrow:
        layers.append(
            chart_of(points, "decision")
            .mark_text(align="left", baseline="middle", fontSize=style.font_size, color=style.ink)
            .encode(**channels(x=alt.value(frame.width + 8 * u), y=y, text="decision:N"))
        )
    layers += symbol_key([*present, (BEFORE, "stroke", style.ink, False)], frame)
    return finish(
        layers,
        frame,
        title=title,
        subtitle=subtitle,
        description="Decisions on the champion, the latest first",
    )


def _day(time: object) -> str:
    return f"{time:%Y-%m-%d}" if isinstance(time, datetime) else str(time)[:10]
