"""Figures of a report, drawn from rows as SQL gives them: one function a figure.

Every function returns a chart of Altair, interactive where Vega draws it, complete where it is a picture.
Names of fields and expressions are constants of this module; text from data is a value, escaped.
`clip_adapter.report.rendering` makes files of charts.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import altair as alt

from clip_adapter.errors import DataError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.report.figure_style import (
    COLOURS,
    DASHES,
    GAIN,
    LOSS,
    PAGE,
    SHAPES,
    Style,
    place_labels,
)
from clip_adapter.report.studies import Study
from clip_adapter.shots import ALL_SHOTS, shots_in_words

MOST_HIGHLIGHTED = 3
MOST_CLASSES = 30
MOST_CONFUSED = 12
MOST_COLOURED = 10
MOST_DECISIONS = 30
ALIKE = 1e-3
"""Shares below this are not drawn."""

Row = Mapping[str, Any]
Decision = Literal["promoted", "refused", "rolled back"]
_Layer = alt.Chart


@dataclass(frozen=True, kw_only=True)
class _Frame:
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


def accuracy(
    rows: Sequence[Row], *, highlight: Sequence[str] = (), style: Style = PAGE, title: str = ""
) -> alt.LayerChart:
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
    known = _known([row for row in rows if row["accuracy_mean"] is not None], "accuracy_mean")
    names = list(dict.fromkeys(_text(row["name"]) for row in known))
    chosen = [name for each in highlight if (name := _text(each)) in names]
    if not chosen and len(names) <= MOST_HIGHLIGHTED:
        chosen = names
    chosen = chosen[: len(COLOURS)]
    end = 2 * max([1, *(row["shots"] for row in known if row["shots"] != ALL_SHOTS)])
    points = [_accuracy_point(row, end) for row in known]
    domain = _percent_domain(points)
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
    frame = _frame(
        style,
        left=3.2 * style.font_size,
        right=widest + 24 * u,
        bottom=3.4 * style.font_size if rising else style.font_size,
        height=min(0.56 * style.width, 420),
        title=title,
        has_axis_title=True,
    )
    line_height = 1.25 * style.font_size
    heights = [line_height * len(texts[name]) for name in ranked]
    centres = [_pixel(last[name]["y"], domain, frame.height) for name in ranked]
    places = place_labels(
        centres, heights, n_required=len(chosen), low=-line_height / 2, high=frame.height + line_height / 2
    )
    labels = [
        {
            "name": name,
            "label": "\n".join(texts[name]),
            "y": last[name]["y"],
            "x": last[name]["x"] or end,
            "at": _value(centre if place is None else place, domain, frame.height),
            "place": "beside" if place is not None else "inside",
        }
        for name, centre, place in zip(ranked, centres, places, strict=True)
    ]

    hover = alt.selection_point(name="hover", fields=["name"], on="pointerover", clear="pointerout")
    click = alt.selection_point(name="click", fields=["name"], toggle="true")
    brought_out = alt.when(hover, empty=False).then
    x = _shots_axis(rising, end, style)
    y = _percent_axis("y", domain, frame, "test accuracy, %")
    tooltip = _tooltip(name="method", shots="images a class", accuracy="accuracy", seeds="seeds")
    layers: list[Any] = []

    def out(of: Any, otherwise: Any) -> Any:
        value = alt.value(of)
        return brought_out(value).when(click, empty=False).then(value).otherwise(alt.value(otherwise))

    grey = [point for point in rising if point["name"] not in chosen]
    if flat:
        is_chosen = alt.FieldOneOfPredicate(field="name", oneOf=chosen)
        layers.append(
            _data(flat, "without-shots")
            .mark_rule(strokeDash=[4, 4], strokeWidth=1.4 * u)
            .encode(
                y=y,
                color=alt.when(is_chosen).then(alt.value(style.ink)).otherwise(alt.value(style.grey)),
                tooltip=tooltip,
            )
        )
    if grey:
        base = _data(grey, "others").encode(x=x, y=y, detail="name:N")
        layers += [
            base.mark_line(clip=True).encode(
                color=out(style.ink, style.grey),
                strokeWidth=out(2.4 * u, 1 * u),
                opacity=out(1, 0.6),
            ),
            base.mark_line(clip=True, strokeWidth=12 * u, opacity=0, cursor="pointer"),
            base.mark_point(clip=True, filled=True, size=14 * u * u).encode(
                color=out(style.ink, style.grey), opacity=out(1, 0.6), tooltip=tooltip
            ),
        ]
    shown = [point for point in rising if point["name"] in chosen]
    layers += _highlighted(shown, chosen, x, domain, frame, tooltip)
    layers += _accuracy_labels(labels, chosen, domain, frame, out, has_x=bool(rising))
    chart = alt.layer(*layers).add_params(hover, click) if grey else alt.layer(*layers)
    return _finish(chart, frame, title=title, description="Test accuracy against labelled images a class")


def _accuracy_point(row: Row, end: int) -> dict[str, Any]:
    mean, half = 100 * row["accuracy_mean"], row.get("accuracy_ci95")
    spread = "" if half is None else f" ± {100 * half:.1f}"
    return {
        "name": _text(row["name"]),
        "x": end if row["shots"] == ALL_SHOTS else row["shots"],
        "y": mean,
        "low": None if half is None else max(0.0, mean - 100 * half),
        "high": None if half is None else min(100.0, mean + 100 * half),
        "accuracy": f"{mean:.1f}{spread} %",
        "shots": _shots(row["shots"]),
        "seeds": row.get("seeds"),
    }


def _shots_axis(rising: Sequence[Row], end: int, style: Style) -> alt.X:
    values = sorted({point["x"] for point in rising}) or [1]
    # The expression holds numbers of ours alone.
    label = f"datum.value == {end} ? 'all' : datum.label"
    scale = {"type": "log", "base": 2, "nice": False, "padding": 10 * style.unit}
    return (
        alt.X("x:Q")
        .title("labelled images a class")
        .scale(**scale, domain=[values[0], max(values[-1], 2 * values[0] - (len(values) > 1))])
        .axis(values=values, format="d", labelExpr=label, grid=False)
    )


def _highlighted(
    points: Sequence[Row], names: Sequence[str], x: alt.X, domain: list[float], frame: _Frame, tooltip: Any
) -> list[_Layer]:
    """Lines with markers, and intervals as bars, those of different methods side by side."""
    rising = [name for name in names if any(point["name"] == name for point in points)]
    u, layers = frame.style.unit, []
    for place, name in enumerate(rising):
        aside = 2 ** (0.07 * (place - (len(rising) - 1) / 2))
        of_one = [
            {**point, "aside": point["x"] * aside} for point in points if point["name"] == name
        ]
        colour = _colour(place, frame.style)
        base = _data(of_one, f"highlight-{place}").encode(
            y=_percent_axis("y", domain, frame, "test accuracy, %")
        )
        bars = base.transform_filter("isValid(datum.low)").encode(
            x=x.copy().field("aside"), y=_percent_axis("low", domain, frame, "test accuracy, %"), y2="high:Q"
        )
        layers += [
            bars.mark_rule(color=colour, strokeWidth=1.5 * u, opacity=0.75, clip=True),
            base.mark_line(
                color=colour, strokeWidth=2.2 * u, strokeDash=_dash(place, u), clip=True
            ).encode(x=x),
            base.mark_point(
                color=colour, filled=True, size=55 * u * u, opacity=1, shape=SHAPES[place % len(SHAPES)], clip=True
            ).encode(x=x, tooltip=tooltip),
        ]
    return layers


def _accuracy_labels(
    labels: Sequence[Row],
    chosen: Sequence[str],
    domain: list[float],
    frame: _Frame,
    out: Any,
    *,
    has_x: bool,
) -> list[_Layer]:
    """Names at the right end of the lines, with a thin line to those that moved."""
    style, u = frame.style, frame.style.unit
    font = {"fontSize": style.font_size, "baseline": "middle", "lineBreak": "\n", "align": "left"}
    at = _percent_axis("at", domain, frame, "test accuracy, %")
    beside = [label for label in labels if label["place"] == "beside"]
    layers = []
    for name, rows, colour, weight in (
        ("label-others", [row for row in beside if row["name"] not in chosen], style.grey, "normal"),
        ("label-highlight", [row for row in beside if row["name"] in chosen], style.ink, "bold"),
    ):
        if not rows:
            continue
        base = _data(rows, name)
        layers += [
            base.mark_rule(color=style.grey, strokeWidth=0.7 * u, opacity=0.7).encode(
                x=alt.value(frame.width + 2 * u),
                x2=alt.value(frame.width + 14 * u),
                y=_percent_axis("y", domain, frame, "test accuracy, %"),
                y2="at:Q",
            ),
            base.mark_text(**font, fontWeight=weight, cursor="pointer").encode(
                x=alt.value(frame.width + 18 * u),
                y=at,
                text="label:N",
                color=out(style.ink, colour) if colour == style.grey else alt.value(colour),
            ),
        ]
    inside = [label for label in labels if label["place"] == "inside"]
    if inside and has_x:
        layers.append(
            _data(inside, "label-hidden")
            .mark_text(**{**font, "align": "right"}, dx=-4 * u, dy=-9 * u, fontWeight="bold", color=style.ink)
            .encode(x=alt.value(frame.width), y=at, text="label:N", opacity=out(1, 0))
        )
    return layers


def base_to_new(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
    """Accuracy on base classes and on new ones, and their harmonic mean, a line a method.

    Args:
        rows: `name`, `shots`, `base_mean`, `new_mean`, `harmonic_mean_mean`, as fractions, and the
            half-widths of their intervals, `base_ci95`, `new_ci95` and `harmonic_mean_ci95`, or null.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no row.
    """
    ordered = sorted(_known(rows, "harmonic_mean_mean"), key=lambda row: -row["harmonic_mean_mean"])
    shown, n_more = ordered[:MOST_CLASSES], len(ordered) - MOST_CLASSES
    has_shots = len({row["shots"] for row in shown}) > 1
    names = [
        f"{row['name']}, {shots_in_words(row['shots'])}" if has_shots else row["name"] for row in shown
    ]
    kinds = (
        ("base classes", "base", COLOURS[0], "circle", -0.22),
        ("new classes", "new", COLOURS[1], "square", 0.22),
        ("harmonic mean", "harmonic_mean", style.ink, "diamond", 0.0),
    )
    points = [
        {
            "name": _text(name),
            "kind": word,
            "x": 100 * row[f"{column}_mean"],
            "low": None if half is None else max(0.0, 100 * (row[f"{column}_mean"] - half)),
            "high": None if half is None else min(100.0, 100 * (row[f"{column}_mean"] + half)),
            "y": place + aside,
            "accuracy": _percent(row[f"{column}_mean"], half),
        }
        for place, (name, row) in enumerate(zip(names, shown, strict=True))
        for word, column, _, _, aside in kinds
        for half in [row.get(f"{column}_ci95")]
    ]
    u = style.unit
    frame = _row_frame(style, names, title=title, subtitle=_more(n_more, "rows"), lines=2.0)
    domain = _percent_domain([{"y": point["x"]} for point in points])
    x, y = _percent_x(domain, frame, "test accuracy, %"), _row_axis(len(names))
    tooltip = _tooltip(name="method", kind="images of", accuracy="accuracy")
    layers = _row_labels(names, frame)
    for word, _, colour, shape, _ in kinds:
        of_one = _data([point for point in points if point["kind"] == word], word.replace(" ", "-"))
        bars = of_one.transform_filter("isValid(datum.low)").mark_rule(
            color=colour, strokeWidth=1.5 * u, opacity=0.75, clip=True
        )
        layers += [
            bars.encode(x=x.copy().field("low"), x2="high:Q", y=y),
            of_one.mark_point(
                shape=shape, filled=True, color=colour, opacity=1, size=60 * u * u, clip=True
            ).encode(x=x, y=y, tooltip=tooltip),
        ]
    layers += _key([(word, shape, colour, True) for word, _, colour, shape, _ in kinds], frame)
    return _finish(
        alt.layer(*layers),
        frame,
        title=title,
        subtitle=_more(n_more, "rows"),
        description="Accuracy on base and new classes by method",
    )


def per_class_change(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
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
        for row in _known(rows, "recall_adapted")
    ]
    largest = sorted(changes, key=lambda row: (-abs(row["change"]), str(row["class_name"])))
    shown = sorted(largest[:MOST_CLASSES], key=lambda row: (row["change"], str(row["class_name"])))
    rest = largest[MOST_CLASSES:]
    subtitle = ""
    if rest:
        subtitle = f"{len(rest):,} more classes change by at most {100 * abs(rest[0]['change']):.1f} points"
    names = [_text(row["class_name"]) for row in shown]
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
    frame = _row_frame(
        style, names, title=title, subtitle=subtitle, right=4.2 * style.font_size, lines=1.6
    )
    y = _row_axis(len(names))
    low = min(min(point["before"], point["after"]) for point in points)
    domain = [max(0.0, 10 * math.floor(low / 10) - 2), 102.0]
    before = _percent_x(domain, frame, "recall, % of the images of the class").field("before")
    after = before.copy().field("after")
    tooltip = _tooltip(name="class", recalls="recall", change="change, points")
    layers = _row_labels(names, frame)
    for word, colour, shape, of_kind in (
        ("gain", GAIN, "triangle-right", [row for row in points if row["after"] > row["before"]]),
        ("loss", LOSS, "triangle-left", [row for row in points if row["after"] < row["before"]]),
        ("same", style.grey, "circle", [row for row in points if row["after"] == row["before"]]),
    ):
        if not of_kind:
            continue
        base = _data(of_kind, word).encode(y=y, tooltip=tooltip)
        dash = [4 * u, 3 * u] if word == "loss" else [1, 0]
        layers += [
            base.mark_rule(color=colour, strokeWidth=2.2 * u, strokeDash=dash).encode(x=before, x2="after:Q"),
            base.mark_point(shape="circle", filled=True, color=style.grey, opacity=1, size=30 * u * u).encode(
                x=before
            ),
            base.mark_point(shape=shape, filled=True, color=colour, opacity=1, size=80 * u * u).encode(x=after),
        ]
    layers.append(
        _data(points, "change")
        .mark_text(
            align="right", baseline="middle", fontSize=style.font_size, color=style.ink
        )
        .encode(x=alt.value(style.width - frame.left - 4 * u), y=y, text="change:N")
    )
    layers += _key(
        [
            ("zero-shot", "circle", style.grey, True),
            ("adapted: gain", "triangle-right", GAIN, True),
            ("adapted: loss", "triangle-left", LOSS, True),
        ],
        frame,
    )
    return _finish(
        alt.layer(*layers),
        frame,
        title=title,
        subtitle=subtitle,
        description="Recall of each class before and after adaptation",
    )


def confusion(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
    """Shares of the images of a class by predicted class, for the classes that are confused most.

    Args:
        rows: `class_name`, `predicted_name`, `share` (of the images of the class, a fraction) and `n`,
            those that are classified correctly as well.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: no image is classified wrongly.
    """
    shares = {(_text(row["class_name"]), _text(row["predicted_name"])): row for row in rows}
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
    columns = [*chosen, "others"] if subtitle else chosen
    cell = (style.width - left - 0.42 * min(longest, 0.3 * style.width)) / len(columns)
    cell = min(cell, 4.6 * style.font_size)
    tilt = min(longest, 0.3 * style.width) * 0.72 + 1.6 * style.font_size
    frame = _frame(
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
    tooltip = _tooltip(name="class", predicted="classified as", share="share", n="images")
    fits = cell >= 2.9 * style.font_size
    layers = []
    for word, colour, of_kind in (
        ("wrong", LOSS, [each for each in cells if not each["is_right"]]),
        ("right", style.grey, [each for each in cells if each["is_right"]]),
    ):
        if not of_kind:
            continue
        layers.append(
            _data(of_kind, word)
            .mark_rect(color=colour, stroke=style.grey, strokeOpacity=0.35, strokeWidth=0.5)
            .encode(
                x=x, x2="x2:Q", y=y, y2="y2:Q", fillOpacity=alt.FillOpacity("strength:Q", scale=None), tooltip=tooltip
            )
        )
    small = {"fontSize": style.font_size if fits else 0.82 * style.font_size, "baseline": "middle"}
    layers.append(
        _data([each for each in cells if each["text"]], "share")
        .mark_text(**small, color=style.ink)
        .encode(x=x.copy().field("centre"), y=y.copy().field("middle"), text="text:N")
    )
    layers += [
        *_row_labels(chosen, frame, offset=0.5, y=y),
        _data(
            [{"name": _cut(name, style, 0.3 * style.width), "x": i + 0.5} for i, name in enumerate(columns)],
            "columns",
        )
        .mark_text(align="left", baseline="middle", angle=315, fontSize=style.font_size, color=style.ink)
        .encode(x=x, y=alt.value(-0.8 * style.font_size), text="name:N"),
        _note("classified as →", style, x=0, y=-tilt - 0.7 * style.font_size),
    ]
    return _finish(
        alt.layer(*layers),
        frame,
        title=title,
        subtitle=subtitle,
        description="Share of the images of each class by predicted class, in percent",
    )


def _cell(
    shares: Mapping[tuple[str, str], Row], name: str, other: str, columns: Sequence[str], at: tuple[int, int]
) -> dict[str, Any]:
    row = shares.get((name, other))
    share, n = (float(row["share"]), row["n"]) if row else (0.0, 0)
    if not row and other == "others":
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


def reliability(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
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
    points = _bins(_known(rows, "accuracy"))
    kinds = [
        (word, colour, shape, [point for point in points if point["kind"] == word])
        for word, colour, shape in (("before", COLOURS[1], "square"), ("after", COLOURS[0], "circle"))
    ]
    kinds = [kind for kind in kinds if kind[3]]
    u = style.unit
    side = min(style.width - 4.4 * style.font_size, 420)
    frame = _frame(
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
    y = _percent_axis("y", [-25.0, 100.0], frame, "accuracy, %", values=ticks)
    tooltip = _tooltip(
        kind="temperature scaling", confidence="confidence", accuracy="accuracy", n="images"
    )
    layers: list[Any] = [
        _data([{"x": 0, "y": 0, "x2": 100, "y2": 100}], "diagonal")
        .mark_rule(color=style.grey, strokeDash=[4, 4], strokeWidth=1.2 * u)
        .encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        _data([{"y": 0}], "zero").mark_rule(color=style.grey, strokeWidth=0.8 * u).encode(y=y),
    ]
    width = 4.2 if len(kinds) > 1 else 8.4
    for place, (word, colour, shape, of_kind) in enumerate(kinds):
        bars = [
            {
                **point,
                "left": 10 * point["bin"] + 0.8 + place * width,
                "right": 10 * point["bin"] + 0.8 + (place + 1) * width - 0.3,
                "foot": -25,
                "top": -25 + 20 * point["n"] / most,
            }
            for point in of_kind
        ]
        base = _data(of_kind, word).encode(x=x, y=y)
        layers += [
            _data(bars, f"count-{word}")
            .mark_rect(color=colour, opacity=0.9 if place else 0.45)
            .encode(
                x=x.copy().field("left"), x2="right:Q", y=y.copy().field("foot"), y2="top:Q", tooltip=tooltip
            ),
            base.mark_line(color=colour, strokeWidth=2 * u, strokeDash=_dash(len(kinds) - 1 - place, u)),
            base.mark_point(
                color=colour, shape=shape, size=55 * u * u, filled=word == "after", opacity=1, strokeWidth=1.6 * u
            ).encode(tooltip=tooltip),
        ]
    key = [
        (f"{word} temperature scaling, ECE {_ece(of_kind):.1f}", shape, colour, word == "after")
        for word, colour, shape, of_kind in kinds
    ]
    layers += _key(key, frame, x=10 * u, y=0.9 * style.font_size, is_column=True)
    layers.append(
        _note(f"images, up to {most:,}", style, x=side - 2, y=side + 0.9 * style.font_size, align="right")
    )
    return _finish(alt.layer(*layers), frame, title=title, description="Accuracy against confidence")


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


def _ece(points: Sequence[Row]) -> float:
    """Expected calibration error in percentage points: the mean distance from the diagonal by images."""
    n = sum(point["n"] for point in points)
    return float(sum(point["n"] * abs(point["x"] - point["y"]) for point in points) / n)


def features(points: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
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
    known = _known(points, "x")
    classes = list(dict.fromkeys(_text(point["class_name"]) for point in known))
    coloured = sorted(classes[:MOST_COLOURED])
    left, right = min(point["x"] for point in known), max(point["x"] for point in known)
    low, high = min(point["y"] for point in known), max(point["y"] for point in known)
    span, rise = max(right - left, 1e-9), max(high - low, 1e-9)
    u = style.unit
    texts = [_cut(name, style, 0.24 * style.width) for name in coloured]
    is_below = style.width < 480
    margin = 4 * u if is_below else max(map(style.text_width, texts)) + 26 * u
    gap = 1.2 * style.font_size
    side = (style.width - margin - gap - 4 * u) / 2
    height = side * min(1.15, max(0.7, rise / span))
    # One unit is as long across as upwards, so that distances are those of the projection.
    per_pixel = 1.08 * max(span / side, rise / height)
    centre = (left + right) / 2, (low + high) / 2
    n_lines = math.ceil(len(coloured) / 2) if is_below else 0
    frame = _frame(
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
            "name": _text(point["class_name"]),
            "state": point["state"],
            "kind": point["kind"],
            "x": round((point["x"] - centre[0]) / per_pixel + side / 2 + (point["state"] == "after") * (side + gap), 1),
            "y": round(height / 2 - (point["y"] - centre[1]) / per_pixel, 1),
        }
        for point in known
    ]
    x = alt.X("x:Q").scale(domain=[0, frame.width], nice=False).axis(None)
    y = alt.Y("y:Q").scale(domain=[height, 0], nice=False).axis(None)
    colours = [_colour(place, style) for place in range(len(coloured))]
    shapes = [SHAPES[(place + place // len(COLOURS)) % 4] for place in range(len(coloured))]
    colour = alt.Color("name:N").scale(domain=coloured, range=colours).legend(None)
    shape = alt.Shape("name:N").scale(domain=coloured, range=shapes).legend(None)
    is_coloured = alt.FieldOneOfPredicate(field="name", oneOf=coloured)
    click = alt.selection_point(name="click", fields=["name"], toggle="true")
    tooltip = _tooltip(name="class", kind="feature of", state="adapter")
    panels = [{"x": 0, "x2": side}, {"x": side + gap, "x2": side + gap + side}]
    images = [point for point in placed if point["kind"] == "image"]
    words = [point for point in placed if point["kind"] == "text"]
    layers: list[Any] = [
        _data([{**panel, "y": 0, "y2": height} for panel in panels], "panels")
        .mark_rect(fillOpacity=0, stroke=style.grey, strokeWidth=0.8 * u, strokeOpacity=0.6)
        .encode(x=x, x2="x2:Q", y=y, y2="y2:Q"),
        _note("before the adapter", style, x=0, y=-0.8 * style.font_size),
        _note("after the adapter", style, x=side + gap, y=-0.8 * style.font_size),
    ]
    others = [point for point in images if point["name"] not in coloured]
    dim = alt.when(click, empty=True).then
    if others:
        layers.append(
            _data(others, "others")
            .mark_point(filled=True, color=style.grey, size=10 * u * u)
            .encode(x=x, y=y, opacity=dim(alt.value(0.35)).otherwise(alt.value(0.06)), tooltip=tooltip)
        )
    layers.append(
        _data([point for point in images if point["name"] in coloured], "images")
        .mark_point(filled=True, size=16 * u * u)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            opacity=dim(alt.value(0.6)).otherwise(alt.value(0.06)),
            tooltip=tooltip,
        )
    )
    if words:
        layers.append(
            _data(words, "texts")
            .mark_point(shape="cross", filled=True, size=110 * u * u, stroke=style.ink, strokeWidth=1 * u)
            .encode(
                x=x,
                y=y,
                color=alt.when(is_coloured).then(colour).otherwise(alt.value(style.grey)),
                opacity=dim(alt.value(1)).otherwise(alt.value(0.1)),
                tooltip=tooltip,
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
    key = _data(keys, "key").encode(x=x, y=y)
    layers += [
        key.mark_point(filled=True, size=45 * u * u, opacity=1, cursor="pointer").encode(color=colour, shape=shape),
        key.mark_text(
            align="left", baseline="middle", dx=8 * u, fontSize=style.font_size, color=style.ink, cursor="pointer"
        ).encode(text="label:N", opacity=dim(alt.value(1)).otherwise(alt.value(0.4))),
    ]
    return _finish(
        alt.layer(*layers).add_params(click),
        frame,
        title=title,
        description="Features before and after the adapter, projected on two principal components",
    )


def champions(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
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
    ordered = sorted(_known(rows, "decided_at"), key=lambda row: row["decided_at"], reverse=True)
    shown, n_more = ordered[:MOST_DECISIONS], len(ordered) - MOST_DECISIONS
    names = [f"{_day(row['decided_at'])}  {row['method']}" for row in shown]
    kinds: Mapping[str, tuple[str, str, bool]] = {
        "promoted": ("triangle-up", COLOURS[0], True),
        "refused": ("circle", COLOURS[1], False),
        "rolled back": ("square", COLOURS[3], True),
    }
    points = [
        {
            "name": _text(name),
            "y": place,
            "decision": _text(row["decision"]),
            "challenger": None if accuracy is None else 100 * accuracy,
            "champion": None if before is None else 100 * before,
            "low": None if low is None or before is None else 100 * (before + low),
            "high": None if high is None or before is None else 100 * (before + high),
            "accuracies": f"{_percent(accuracy)} against {_percent(before)}",
        }
        for place, (name, row) in enumerate(zip(names, shown, strict=True))
        for accuracy, before in [(row["accuracy_challenger"], row["accuracy_champion"])]
        for low, high in [(row.get("low"), row.get("high"))]
    ]
    measured = [point for point in points if point["challenger"] is not None]
    u = style.unit
    subtitle = _more(n_more, "earlier decisions")
    right = max(style.text_width(point["decision"]) for point in points) + 10 * u
    frame = _row_frame(style, names, title=title, subtitle=subtitle, right=right, lines=1.7)
    both = [point[column] for point in measured for column in ("challenger", "champion", "low", "high")]
    domain = _percent_domain([{"y": value} for value in both if value is not None] or [{"y": 50}])
    x, y = _percent_x(domain, frame, "accuracy on validation images, %"), _row_axis(len(names))
    tooltip = _tooltip(name="decision on", decision="decision", accuracies="accuracy")
    layers: list[Any] = _row_labels(names, frame)
    base = _data(points, "decisions").encode(y=y, tooltip=tooltip)
    bars = base.transform_filter("isValid(datum.low)")
    layers += [
        bars.mark_rule(color=style.grey, strokeWidth=1.5 * u, clip=True).encode(
            x=x.copy().field("low"), x2="high:Q"
        ),
        base.transform_filter("isValid(datum.champion)")
        .mark_tick(color=style.ink, thickness=2 * u, size=1.1 * style.font_size, orient="vertical")
        .encode(x=x.copy().field("champion")),
    ]
    present = []
    for word, (shape, colour, filled) in kinds.items():
        of_kind = [point for point in measured if point["decision"] == word]
        if of_kind:
            present.append((word, shape, colour, filled))
            layers.append(
                _data(of_kind, word.replace(" ", "-"))
                .mark_point(
                    shape=shape, color=colour, filled=filled, opacity=1, size=70 * u * u, strokeWidth=1.8 * u
                )
                .encode(x=x.copy().field("challenger"), y=y, tooltip=tooltip)
            )
    layers.append(
        _data(points, "decision")
        .mark_text(align="left", baseline="middle", fontSize=style.font_size, color=style.ink)
        .encode(x=alt.value(frame.width + 8 * u), y=y, text="decision:N")
    )
    layers += _key([*present, ("champion before", "stroke", style.ink, False)], frame)
    return _finish(
        alt.layer(*layers),
        frame,
        title=title,
        subtitle=subtitle,
        description="Decisions on the champion, the latest first",
    )


def study(found: Study, *, style: Style = PAGE, title: str = "") -> alt.LayerChart:
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
    points = [
        {
            "name": name,
            "label": _text(variant.name),
            "x": variant.position,
            "y": 100 * mean.value,
            "low": None if mean.half_width is None else 100 * max(0.0, mean.low),
            "high": None if mean.half_width is None else 100 * min(1.0, mean.high),
            "accuracy": _percent(mean.value, mean.half_width),
        }
        for name, shots in zip(series, every, strict=True)
        for variant in found.variants
        if (mean := variant.means.get(shots)) is not None
    ]
    _known(points, "y")
    is_named = found.scale == "names"
    names = [_text(variant.name) for variant in found.variants]
    places = {name: place for place, name in enumerate(names)}
    u, domain = style.unit, _percent_domain(points)
    right = 1.2 * style.font_size if is_named else max(map(style.text_width, series)) + 24 * u
    width = style.width - 3.2 * style.font_size - right
    room = width / max(1, len(names))
    is_level = not is_named or all(style.text_width(name) <= 0.94 * room for name in names)
    longest = min(max(map(style.text_width, names)), 0.4 * style.width)
    frame = _frame(
        style,
        left=3.2 * style.font_size if is_level else max(3.2 * style.font_size, 0.75 * longest - room / 2),
        right=right,
        bottom=3.4 * style.font_size + (0 if is_level else 0.66 * longest),
        height=min(0.5 * style.width, 360),
        title=title,
        has_axis_title=True,
        above=1.6 * style.font_size if is_named else 0,
    )
    y = _percent_axis("y", domain, frame, "test accuracy, %")
    tooltip = _tooltip(name="shots", label="setting", accuracy="accuracy")
    if is_named:
        return _named_study(found, series, points, places, frame, title, is_level=is_level)
    x = alt.X("x:Q").title(_text(found.varied)).scale(nice=False, padding=10 * u).axis(grid=False)
    if found.scale == "octaves":
        values = sorted({point["x"] for point in points})
        x = x.scale(type="log", base=2, nice=False, padding=10 * u)
        x = x.axis(values=values, format="d", grid=False)
    layers: list[Any] = []
    for place, name in enumerate(series):
        colour = _colour(place, style)
        base = _data([point for point in points if point["name"] == name], f"series-{place}")
        bars = base.transform_filter("isValid(datum.low)")
        layers += [
            bars.mark_rule(color=colour, strokeWidth=1.4 * u, opacity=0.6, clip=True).encode(
                x=x, y=_percent_axis("low", domain, frame, "test accuracy, %"), y2="high:Q"
            ),
            base.mark_line(color=colour, strokeWidth=2.2 * u, strokeDash=_dash(place, u), clip=True).encode(x=x, y=y),
            base.mark_point(
                color=colour, shape=SHAPES[place % len(SHAPES)], filled=True, opacity=1, size=55 * u * u, clip=True
            ).encode(x=x, y=y, tooltip=tooltip),
        ]
    last = {point["name"]: point for point in sorted(points, key=lambda point: point["x"])}
    centres = [_pixel(last[name]["y"], domain, frame.height) for name in series]
    heights = [1.25 * style.font_size] * len(series)
    at = place_labels(centres, heights, n_required=len(series), low=0, high=frame.height)
    labels = [
        {"name": name, "y": last[name]["y"], "at": _value(place or 0.0, domain, frame.height)}
        for name, place in zip(series, at, strict=True)
    ]
    layers += _accuracy_labels(
        [{**label, "label": label["name"], "place": "beside"} for label in labels],
        series,
        domain,
        frame,
        None,
        has_x=True,
    )
    return _finish(alt.layer(*layers), frame, title=title, description=_text(f"Accuracy against {found.varied}"))


def _named_study(
    found: Study,
    series: Sequence[str],
    points: Sequence[Row],
    places: Mapping[str, int],
    frame: _Frame,
    title: str,
    *,
    is_level: bool,
) -> alt.LayerChart:
    """Points with intervals above the names of the settings, those of different shots side by side."""
    style, u, domain = frame.style, frame.style.unit, _percent_domain(points)
    step = min(0.16, 0.7 / max(1, len(series)))
    x = (
        alt.X("at:Q")
        .title(None)
        .scale(domain=[-0.5, len(places) - 0.5], nice=False)
        .axis(values=[], grid=False, ticks=False, labels=False)
    )
    tooltip = _tooltip(name="shots", label="setting", accuracy="accuracy")
    layers: list[Any] = []
    for place, name in enumerate(series):
        aside = step * (place - (len(series) - 1) / 2)
        of_one = [
            {**point, "at": places[point["label"]] + aside} for point in points if point["name"] == name
        ]
        base, colour = _data(of_one, f"series-{place}").encode(x=x), _colour(place, style)
        layers += [
            base.transform_filter("isValid(datum.low)")
            .mark_rule(color=colour, strokeWidth=1.6 * u, clip=True)
            .encode(y=_percent_axis("low", domain, frame, "test accuracy, %"), y2="high:Q"),
            base.mark_point(
                color=colour, shape=SHAPES[place % len(SHAPES)], filled=True, opacity=1, size=60 * u * u, clip=True
            ).encode(y=_percent_axis("y", domain, frame, "test accuracy, %"), tooltip=tooltip),
        ]
    words = [
        {"name": _cut(name, style, 0.4 * style.width), "at": place} for name, place in places.items()
    ]
    tilt: dict[str, Any] = (
        {"align": "center", "baseline": "top"} if is_level else {"align": "right", "baseline": "middle", "angle": 318}
    )
    layers += [
        _data(words, "settings")
        .mark_text(**tilt, fontSize=style.font_size, color=style.ink)
        .encode(x=x, y=alt.value(frame.height + 0.7 * style.font_size), text="name:N"),
        _note(
            found.varied, style, x=frame.width / 2, y=frame.height + frame.bottom - 0.8 * style.font_size, align="center"
        ),
        *_key(
            [
                (name, SHAPES[place % len(SHAPES)], _colour(place, style), True)
                for place, name in enumerate(series)
            ],
            frame,
        ),
    ]
    return _finish(alt.layer(*layers), frame, title=title, description=_text(f"Accuracy by {found.varied}"))


def _text(value: object) -> str:
    return escape_control_characters(value)


def _known(rows: Sequence[Any], column: str) -> list[Any]:
    known = [row for row in rows if row[column] is not None]
    if not known:
        raise DataError(f"there is nothing to draw: expected one row or more with a value of {column}")
    return known


def _shots(shots: int) -> str:
    return "none" if shots == 0 else "all" if shots == ALL_SHOTS else f"{shots:,}"


def _percent(fraction: float | None, half: float | None = None) -> str:
    if fraction is None:
        return "unknown"
    return f"{100 * fraction:.1f}{'' if half is None else f' ± {100 * half:.1f}'} %"


def _more(count: int, things: str) -> str:
    return f"and {count:,} more {things}" if count > 0 else ""


def _day(time: object) -> str:
    return f"{time:%Y-%m-%d}" if isinstance(time, datetime) else str(time)[:10]


def _colour(place: int, style: Style) -> str:
    colour = COLOURS[place % len(COLOURS)]
    return style.ink if colour == "#000000" else colour  # black is not seen on dark pages


def _dash(place: int, unit: float) -> list[float]:
    dash = DASHES[place % len(DASHES)]
    return [1, 0] if dash == [1, 0] else [length * unit for length in dash]


def _cut(text: str, style: Style, width: float) -> str:
    """A text in one line, with an ellipsis in its middle where it is too long: ends tell names apart."""
    shown = _text(text)
    if style.text_width(shown) <= width:
        return shown
    half = max(2, int(width / (1.2 * style.font_size)) - 1)
    return f"{shown[:half]}…{shown[-half:]}"


def _percent_domain(points: Sequence[Row]) -> list[float]:
    """A range around the means; the wide interval of two seeds would flatten all lines."""
    low, high = min(point["y"] for point in points), max(point["y"] for point in points)
    margin = max(2.0, 0.12 * (high - low))
    return [max(0.0, low - margin), min(100.0, high + margin)]


def _pixel(value: float, domain: Sequence[float], height: float) -> float:
    return height * (domain[1] - value) / (domain[1] - domain[0])


def _value(pixel: float, domain: Sequence[float], height: float) -> float:
    return domain[1] - pixel * (domain[1] - domain[0]) / height


def _percent_axis(
    field: str, domain: Sequence[float], frame: _Frame, title: str, values: Sequence[float] | None = None
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


def _percent_x(domain: Sequence[float], frame: _Frame, title: str) -> alt.X:
    return (
        alt.X("x:Q")
        .title(title)
        .scale(domain=list(domain), nice=False)
        .axis(tickCount=max(3, int(frame.width / (5 * frame.style.font_size))), domain=False, ticks=False)
    )


def _row_axis(n: int) -> alt.Y:
    """Rows from the top down, without an axis: their names are text of the figure's own."""
    return alt.Y("y:Q").scale(domain=[n - 0.5, -0.5], nice=False).axis(None)


def _row_frame(
    style: Style,
    names: Sequence[str],
    *,
    title: str,
    lines: float,
    subtitle: str = "",
    right: float | None = None,
) -> _Frame:
    widest = max(style.text_width(_text(name)) for name in names)
    return _frame(
        style,
        left=min(widest, 0.4 * style.width) + 12 * style.unit,
        right=1.2 * style.font_size if right is None else right,
        bottom=3.4 * style.font_size,
        height=lines * style.font_size * len(names),
        title=title,
        subtitle=subtitle,
        above=2.0 * style.font_size,
    )


def _row_labels(
    names: Sequence[str], frame: _Frame, *, offset: float = 0, y: alt.Y | None = None
) -> list[Any]:
    style = frame.style
    rows = [
        {"name": _cut(name, style, frame.left - 10 * style.unit), "y": place + offset}
        for place, name in enumerate(names)
    ]
    return [
        _data(rows, "rows")
        .mark_text(align="right", baseline="middle", fontSize=style.font_size, color=style.ink)
        .encode(x=alt.value(-8 * style.unit), y=y or _row_axis(len(names)), text="name:N")
    ]


def _frame(
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
) -> _Frame:
    size = style.font_size
    top = above + (2.0 * size if has_axis_title else 0.4 * size)
    top += (1.9 * size if title else 0) + (1.5 * size if subtitle else 0)
    return _Frame(style=style, left=left, right=right, top=top, bottom=bottom, height=height)


def _data(rows: Sequence[Row], name: str) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=list(rows)), name=name)


def _tooltip(**titles: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in titles.items()]


def _note(text: str, style: Style, *, x: float, y: float, align: Any = "left") -> alt.Chart:
    return (
        _data([{"note": _text(text)}], "note")
        .mark_text(align=align, baseline="middle", fontSize=style.font_size, color=style.ink)
        .encode(x=alt.value(x), y=alt.value(y), text="note:N")
    )


def _key(
    entries: Sequence[tuple[str, str, str, bool]],
    frame: _Frame,
    *,
    x: float | None = None,
    y: float | None = None,
    is_column: bool = False,
) -> list[Any]:
    """What symbols mean, above the drawing: words, shape, colour, and whether it is filled."""
    style, u = frame.style, frame.style.unit
    layers: list[Any] = []
    # From the left edge where the whole of it does not fit above the drawing.
    total = sum(style.text_width(words) + 26 * u for words, *_ in entries)
    start = 8 * u if total <= frame.width + frame.right else 8 * u - frame.left
    across = start if x is None else x
    down = -1.1 * style.font_size if y is None else y
    for words, shape, colour, filled in entries:
        layers += [
            _data([{}], "key")
            .mark_point(
                shape=shape, color=colour, filled=filled, opacity=1, size=55 * u * u, strokeWidth=1.8 * u
            )
            .encode(x=alt.value(across), y=alt.value(down)),
            _note(words, style, x=across + 8 * u, y=down),
        ]
        if is_column:
            down += 1.4 * style.font_size
        else:
            across += style.text_width(words) + 26 * u
    return layers


def _finish(
    chart: alt.LayerChart, frame: _Frame, *, title: str, description: str, subtitle: str = ""
) -> alt.LayerChart:
    """The chart in its frame. Margins are given, not found, so that the whole has the asked size."""
    style, u = frame.style, frame.style.unit
    text: dict[str, Any] = {}
    if title or subtitle:
        words = alt.TitleParams(
            _text(title),
            subtitle=_text(subtitle) if subtitle else alt.Undefined,
            anchor="start",
            frame="bounds",
            dx=-frame.left + 2 * u,
            offset=frame.top - (2.1 if title and subtitle else 1.5) * style.font_size
            if False
            else _title_offset(frame, title, subtitle),
        )
        text = {"title": words}
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
        title=alt.TitleConfig(
            fontSize=1.1 * style.font_size,
            fontWeight="bold",
            color=style.ink,
            subtitleFontSize=style.font_size,
            subtitleColor=style.ink,
        ),
    )
    padding = {"left": frame.left, "right": frame.right, "top": frame.top, "bottom": frame.bottom}
    return chart.properties(
        width=frame.width,
        height=frame.height,
        padding=padding,
        autosize=alt.AutoSizeParams(type="none"),
        description=_text(f"{title}: {description}" if title else description),
        config=config,
        **text,
    )


def _title_offset(frame: _Frame, title: str, subtitle: str) -> float:
    size = frame.style.font_size
    block = (1.1 * size if title else 0) + (1.4 * size if subtitle else 0)
    return frame.top - block - 0.4 * size
