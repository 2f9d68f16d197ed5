"""Accuracy on base classes and on new ones."""

from collections.abc import Sequence

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
from clip_adapter.shots import shots_in_words

MOST_ROWS = 30


def base_to_new(rows: Sequence[Row], *, style: Style = PAGE, title: str = "") -> Figure:
    """Accuracy on base classes and on new ones, and their harmonic mean, a line a method.

    Args:
        rows: `name`, `shots`, `base_mean`, `new_mean`, `harmonic_mean_mean`, as fractions, and the
            half-widths of their intervals, `base_ci95`, `new_ci95` and `harmonic_mean_ci95`, or null.
        style: size and colours.
        title: title above the figure; none when empty.

    Raises:
        DataError: there is no row.
    """
    ordered = sorted(
        with_values(rows, "harmonic_mean_mean"), key=lambda row: -row["harmonic_mean_mean"]
    )
    shown, n_more = ordered[:MOST_ROWS], len(ordered) - MOST_ROWS
    has_shots = len({row["shots"] for row in shown}) > 1
    names = [
        as_text(
            f"{row['name']}, {shots_in_words(row['shots'])}"
            if has_shots and row["shots"]
            else row["name"]
        )
        for row in shown
    ]
    kinds = (
        ("base classes", "base", COLOURS[0], "circle", -0.22),
        ("new classes", "new", COLOURS[1], "square", 0.22),
        ("harmonic mean", "harmonic_mean", style.ink, "diamond", 0.0),
    )
    points = [
        {
            "name": name,
            "kind": word,
            "x": 100 * row[f"{column}_mean"],
            "low": None if half is None else max(0.0, 100 * (row[f"{column}_mean"] - half)),
            "high": None if half is None else min(100.0, 100 * (row[f"{column}_mean"] + half)),
            "y": place + aside,
            "accuracy": percent_text(row[f"{column}_mean"], half),
        }
        for place, (name, row) in enumerate(zip(names, shown, strict=True))
        for word, column, _, _, aside in kinds
        for half in [row.get(f"{column}_ci95")]
    ]
    u = style.unit
    frame = row_frame(
        style,
        names,
        title=title,
        subtitle=and_more(n_more, "rows"),
        lines=2.0,
        keys=[word for word, *_ in kinds],
    )
    domain = percent_domain([{"y": point["x"]} for point in points])
    x, y = percent_x(domain, frame, "test accuracy, %"), row_y(len(names))
    tooltip = tooltip_of(name="method", kind="images of", accuracy="accuracy")
    layers = row_labels(names, frame)
    for word, _, colour, shape, _ in kinds:
        of_one = chart_of(
            [point for point in points if point["kind"] == word], word.replace(" ", "-")
        )
        bars = of_one.transform_filter("isValid(datum.low)").mark_rule(
            color=colour, strokeWidth=1.5 * u, opacity=0.75, clip=True
        )
        layers += [
            bars.encode(**channels(x=with_field(x, "low"), x2="high:Q", y=y)),
            of_one.mark_point(
                shape=shape, filled=True, color=colour, opacity=1, size=60 * u * u, clip=True
            ).encode(**channels(x=x, y=y, tooltip=tooltip)),
        ]
    layers += symbol_key(
        [(word, shape, colour, True) for word, _, colour, shape, _ in kinds], frame
    )
    return finish(
        layers,
        frame,
        title=title,
        subtitle=and_more(n_more, "rows"),
        description="Accuracy on base and new classes by method",
    )
