"""Figures: marks with the values of SQL, names that stay text, and series that grey keeps apart."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import altair as alt
import pytest

from clip_adapter.errors import DataError
from clip_adapter.report import figures
from clip_adapter.report.figures import PAGE, Style
from clip_adapter.report.figures.style import COLOURS, DASHES, SHAPES
from clip_adapter.report.numbers import mean_of
from clip_adapter.report.studies import Scale, Study, Variant
from clip_adapter.runs import connect
from clip_adapter.shots import ALL_SHOTS

HOSTILE = '</text><script>alert("x")</script>\x1b & \u202e\n${datum}'
PRINT = Style.for_print()
FIGURES = (
    "accuracy",
    "base_to_new",
    "per_class_change",
    "confusion",
    "reliability",
    "features",
    "champions",
    "study",
    "named_study",
)


def study(scale: Scale = "octaves", *names: str) -> Study:
    means = {1: mean_of([0.5, 0.6]), 4: mean_of([0.7])}
    return Study(
        name="study",
        recipe="paper",
        varied=names[0] if names else "what",
        scale=scale,
        variants=tuple(
            Variant(name=name, position=2.0**place, means=means)
            for place, name in enumerate(names or ("a", "b"))
        ),
        seeds=(1, 2),
    )


def rows_of_accuracy(*names: str) -> list[dict[str, Any]]:
    rising = [
        {
            "name": name,
            "shots": shots,
            "accuracy_mean": 0.5 + 0.02 * place + 0.01 * shots,
            "accuracy_ci95": 0.03,
            "seeds": 3,
        }
        for place, name in enumerate(names)
        for shots in (1, 4, 16)
    ]
    flat = {"name": f"{names[0]} flat", "shots": 0, "accuracy_mean": 0.4, "accuracy_ci95": None}
    return [*rising, flat]


def draw(figure: str, name: str, other: str, style: Style) -> alt.LayerChart:
    """A figure with two names that come from data."""
    shares = ((name, name, 0.7), (name, other, 0.3), (other, other, 1.0))
    drawn: dict[str, Callable[[], alt.LayerChart]] = {
        "accuracy": lambda: figures.accuracy(
            rows_of_accuracy(name, other, "c", "d"), highlight=[name], style=style, title=name
        ),
        "base_to_new": lambda: figures.base_to_new(
            [
                {
                    "name": each,
                    "shots": 4,
                    "base_mean": 0.8,
                    "base_ci95": 0.05,
                    "new_mean": 0.6,
                    "new_ci95": None,
                    "harmonic_mean_mean": 0.68,
                    "harmonic_mean_ci95": 0.02,
                }
                for each in (name, other)
            ],
            style=style,
            title=name,
        ),
        "per_class_change": lambda: figures.per_class_change(
            [
                {"class_name": name, "recall_zero_shot": 0.4, "recall_adapted": 0.7},
                {"class_name": other, "recall_zero_shot": 0.8, "recall_adapted": 0.75},
            ],
            style=style,
            title=name,
        ),
        "confusion": lambda: figures.confusion(
            [
                {"class_name": a, "predicted_name": b, "share": share, "n": int(100 * share)}
                for a, b, share in shares
            ],
            style=style,
            title=name,
        ),
        "reliability": lambda: figures.reliability(
            [
                {
                    "temperature": state,
                    "bin": place,
                    "n": 10 + place,
                    "confidence": 0.1 * place + 0.05,
                    "accuracy": 0.08 * place,
                }
                for state in ("before", "after")
                for place in range(10)
            ],
            style=style,
            title=name,
        ),
        "features": lambda: figures.features(
            [
                {
                    "x": x,
                    "y": place,
                    "class_name": each,
                    "state": state,
                    "kind": kind,
                }
                for x, state in enumerate(("before", "after"))
                for kind in ("image", "text")
                for place, each in enumerate((name, other))
            ],
            style=style,
            title=name,
        ),
        "champions": lambda: figures.champions(
            [
                {
                    "decided_at": datetime(2026, 11, day, tzinfo=UTC),
                    "decision": decision,
                    "method": name,
                    "accuracy_challenger": 0.8,
                    "accuracy_champion": 0.75,
                    "low": 0.01,
                    "high": 0.09,
                }
                for day, decision in enumerate(("promoted", "refused", "rolled back"), 1)
            ],
            style=style,
            title=name,
        ),
        "study": lambda: figures.study(study("octaves", name, other), style=style, title=name),
        "named_study": lambda: figures.study(study("names", name, other), style=style, title=name),
    }
    return drawn[figure]()


def marks(chart: alt.LayerChart, layer: str) -> list[dict[str, Any]]:
    """The rows of a layer, and of those that are numbered after it."""
    found = figures.specification(chart)
    return [
        row
        for each in found["layer"]
        if re.fullmatch(rf"{layer}(-\d+)?", each["name"])
        for row in found["datasets"][each["data"]["name"]]
    ]


def words(svg: str) -> list[str]:
    drawn = ET.fromstring(svg)  # noqa: S314  # drawn here
    return [element.text for element in drawn.iter() if element.text]


def expressions(part: Any) -> Iterator[str]:
    """Everything in a specification that Vega parses."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "datasets":
                continue
            is_parsed = key in {"expr", "labelExpr", "test", "filter", "calculate", "on", "clear"}
            if is_parsed and isinstance(value, str):
                yield value
            yield from expressions(value)
    elif isinstance(part, list):
        for each in part:
            yield from expressions(each)


def test_the_marks_of_accuracy_have_the_values_of_sql(digits: Path) -> None:
    with connect(digits) as database:
        rows = database.query("SELECT method AS name, * FROM leaderboard").to_pylist()
    chart = figures.accuracy(rows, highlight=["clip-adapter"])
    drawn = [
        *marks(chart, "highlight-0"),
        *marks(chart, "others"),
        *marks(chart, "without-shots"),
    ]
    found = {(row["name"], row["x"]): row["y"] for row in drawn}
    wanted = {(row["name"], row["shots"]): 100 * row["accuracy_mean"] for row in rows}
    assert found == pytest.approx(wanted, rel=1e-9)
    low = {row["x"]: row["low"] for row in marks(chart, "highlight-0")}
    lows = {
        row["shots"]: 100 * (row["accuracy_mean"] - row["accuracy_ci95"])
        for row in rows
        if row["name"] == "clip-adapter"
    }
    assert low == pytest.approx(lows, rel=1e-9)


def test_the_marks_of_the_other_figures_have_the_values_of_their_rows() -> None:
    drawn = {figure: draw(figure, "a", "b", PAGE) for figure in FIGURES}
    changes = {
        row["name"]: (row["before"], row["after"])
        for row in marks(drawn["per_class_change"], "change")
    }
    assert changes == {"a": (40, 70), "b": (80, 75)}
    kinds = {
        (row["name"], row["kind"]): row["x"] for row in marks(drawn["base_to_new"], "new-classes")
    }
    assert kinds == {("a", "new classes"): 60, ("b", "new classes"): 60}
    cells = {
        (row["name"], row["predicted"]): row["text"]
        for row in marks(drawn["confusion"], "wrong") + marks(drawn["confusion"], "right")
    }
    assert cells == {("a", "a"): "70", ("a", "b"): "30", ("b", "a"): "", ("b", "b"): "100"}
    bins = {row["bin"]: row["n"] for row in marks(drawn["reliability"], "after")}
    assert bins == {place: 10 + place for place in range(10)}
    decisions = {
        row["decision"]: (
            row["challenger"],
            row["champion"],
            round(row["low"], 9),
            round(row["high"], 9),
        )
        for row in marks(drawn["champions"], "decisions")
    }
    assert set(decisions.values()) == {(80, 75, 76, 84)}
    assert set(decisions) == {"promoted", "refused", "rolled back"}


@pytest.mark.parametrize("figure", FIGURES)
def test_hostile_names_are_words_in_every_figure(figure: str) -> None:
    chart = draw(figure, HOSTILE, HOSTILE + "2", PAGE)
    drawn = figures.svg(chart)
    ET.fromstring(drawn)  # noqa: S314  # drawn here
    for forbidden in ("<script", "\x1b", "\u202e", "<image", "<a ", "onload", "href"):
        assert forbidden not in drawn
    assert {*re.findall(r"https?://[^\"]+", drawn)} <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    for expression in expressions(figures.specification(chart)):
        assert "alert" not in expression


@pytest.mark.parametrize("figure", FIGURES)
def test_equal_rows_give_equal_bytes(figure: str) -> None:
    first = figures.svg(draw(figure, "a", "b", PRINT))
    figures.svg(draw("study", "x", "y", PRINT))
    assert figures.svg(draw(figure, "a", "b", PRINT)) == first


@pytest.mark.parametrize("suffix", [".png", ".json"])
def test_equal_figures_give_equal_files(suffix: str) -> None:
    first, second = (
        figures.encode(draw("confusion", "a", "b", PRINT), suffix, dpi=72) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_in_print_has_the_asked_width_whatever_the_names(figure: str) -> None:
    long = "a method with rather a long name (views 2, published splits, ratio 0.2)"
    drawn = figures.svg(draw(figure, long, long + " 2", PRINT))
    found = re.search(r'width="([\d.]+)" height="([\d.]+)" viewBox', drawn)
    assert found is not None
    assert float(found[1]) == pytest.approx(3.25 * 96)


def test_a_pdf_has_the_asked_size_in_points() -> None:
    chart = figures.accuracy(rows_of_accuracy("a", "b"), style=PRINT)
    content = figures.pdf(chart)
    assert content.startswith(b"%PDF-")
    box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", content)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.25 * 72, abs=0.5)  # of a point


def test_a_png_has_the_asked_pixels_and_says_its_resolution() -> None:
    content = figures.png(figures.accuracy(rows_of_accuracy("a"), style=PRINT), dpi=600)
    assert content.startswith(b"\x89PNG\r\n")
    width = int.from_bytes(content[16:20])
    assert width == pytest.approx(3.25 * 600, abs=1)  # of rounding
    place = content.index(b"pHYs") + 4
    per_metre = int.from_bytes(content[place : place + 4])
    assert per_metre == pytest.approx(600 / 0.0254, rel=1e-3)  # a whole number of pixels


@pytest.mark.parametrize(("width", "points"), [(0.5, 8), (3.25, 1), (99, 8)])
def test_sizes_that_nobody_can_read_are_refused(width: float, points: float) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Style.for_print(width=width, font_size=points)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_series_are_told_apart_without_colour() -> None:
    """By the shape of their points in any case, and by colour as well where one is seen."""
    assert len({*SHAPES}) == len(COLOURS) == len({*COLOURS})
    spec = figures.specification(
        figures.accuracy(rows_of_accuracy("a", "b", "c"), highlight=["a", "b", "c"], style=PRINT)
    )
    drawn = [each["mark"] for each in spec["layer"] if each["name"].startswith("highlight")]
    shapes = [mark["shape"] for mark in drawn if mark["type"] == "point"]
    dashes = [tuple(mark["strokeDash"]) for mark in drawn if mark["type"] == "line"]
    assert len({*shapes}) == len({*dashes}) == 3
    assert len(DASHES) == 3
    # Each is seen on white and on black: as WCAG asks of graphics on one of them at least.
    for colour in COLOURS[:4]:
        assert 0.1 < luminance(colour) < 0.4


@pytest.mark.parametrize("figure", ["per_class_change", "reliability", "champions", "base_to_new"])
def test_kinds_of_points_have_shapes_of_their_own(figure: str) -> None:
    spec = figures.specification(draw(figure, "a", "b", PRINT))
    marks = [each["mark"] for each in spec["layer"] if each["name"].startswith("key")]
    looks = [(mark["shape"], mark["filled"]) for mark in marks]
    assert len(looks) > 1
    assert len({*looks}) == len(looks)


def test_a_page_is_transparent_and_takes_its_colour() -> None:
    drawn = figures.svg(draw("accuracy", "a", "b", PAGE))
    assert 'fill="currentColor"' in drawn
    assert 'fill="#ffffff"' not in drawn
    assert 'fill="white"' not in drawn
    assert "role-axis-label" in drawn
    assert 'fill="#ffffff"' in figures.svg(draw("accuracy", "a", "b", PRINT))


def test_grey_lines_are_brought_out_by_pointing_and_kept_by_a_click() -> None:
    spec = figures.specification(
        figures.accuracy(rows_of_accuracy("a", "b", "c", "d"), highlight=["a"])
    )
    assert {param["name"] for param in spec["params"]} == {"hover", "click"}
    hit = [each for each in spec["layer"] if each["name"] in spec["params"][0]["views"]]
    assert [each["mark"]["type"] for each in hit] == ["line"]
    # Vega-Lite hears nothing on layers that have neither the parameter nor a tooltip.
    texts = [each for each in spec["layer"] if each["mark"]["type"] == "text"]
    pointed = [each for each in texts if each["mark"].get("cursor") == "pointer"]
    assert any("tooltip" in each["encoding"] for each in pointed)


def test_all_shots_stand_to_the_right_of_every_number() -> None:
    rows = [
        {"name": "a", "shots": shots, "accuracy_mean": 0.5, "accuracy_ci95": None}
        for shots in (1, 16, ALL_SHOTS)
    ]
    shown = words(figures.svg(figures.accuracy(rows)))
    assert [word for word in shown if word in {"1", "16", "32", "all"}] == ["1", "16", "all"]


def test_a_store_of_zero_shot_alone_is_drawn() -> None:
    rows = [{"name": "zero-shot", "shots": 0, "accuracy_mean": 0.6, "accuracy_ci95": None}]
    assert any("zero-shot" in word for word in words(figures.svg(figures.accuracy(rows))))


def test_an_interval_that_leaves_the_frame_does_not_press_the_lines_flat() -> None:
    rows = [
        {"name": "a", "shots": 1, "accuracy_mean": 0.5, "accuracy_ci95": 0.5},
        {"name": "a", "shots": 4, "accuracy_mean": 0.52, "accuracy_ci95": None},
    ]
    shown = words(figures.svg(figures.accuracy(rows)))
    assert "50" in shown
    assert not {"0", "100"} & set(shown)


def test_only_the_most_changed_classes_are_drawn_and_the_rest_counted() -> None:
    rows = [
        {
            "class_name": f"class {place}",
            "recall_zero_shot": 0.5,
            "recall_adapted": 0.5 + 0.001 * place,
        }
        for place in range(100)
    ]
    chart = figures.per_class_change(rows)
    names = [row["name"] for row in marks(chart, "change")]
    assert names == [f"class {place}" for place in range(70, 100)]  # the worst of them first
    assert "70 more classes change by at most 6.9 points" in words(figures.svg(chart))


def test_the_map_has_the_classes_that_are_confused_most_and_a_column_for_others() -> None:
    names = [f"class {place}" for place in range(50)]
    rows = [
        {"class_name": a, "predicted_name": b, "share": share, "n": 1}
        for place, a in enumerate(names)
        for b, share in (
            (a, 1 - 0.01 * place),
            (names[(place + 1) % 50], 0.009 * place),
            (names[(place + 2) % 50], 0.001 * place),
        )
    ]
    cells = marks(figures.confusion(rows), "wrong") + marks(figures.confusion(rows), "right")
    chosen = {cell["name"] for cell in cells}
    assert len(chosen) == 12
    assert {"class 49", "class 0", "class 48"} <= chosen
    for name in chosen:
        shares = [float(cell["share"].removesuffix(" %")) for cell in cells if cell["name"] == name]
        assert sum(shares) == pytest.approx(100, abs=0.2)  # of rounding each


@pytest.mark.parametrize("scale", ["numbers", "octaves", "names"])
def test_a_study_is_drawn_with_a_series_a_number_of_shots(scale: Scale) -> None:
    drawn = figures.svg(figures.study(study(scale, "first", "second"), title="a study"))
    assert {"a study", "first", "1 shot", "4 shots"} <= set(words(drawn))
    assert "second" in words(drawn) or scale != "names"


def test_without_rows_there_is_nothing_to_draw() -> None:
    function: Callable[..., Any]
    for function in (
        figures.accuracy,
        figures.base_to_new,
        figures.per_class_change,
        figures.reliability,
        figures.features,
        figures.champions,
    ):
        with pytest.raises(DataError, match="nothing to draw"):
            function([])
    with pytest.raises(DataError, match="no image is classified wrongly"):
        figures.confusion([{"class_name": "a", "predicted_name": "a", "share": 1.0, "n": 3}])


def test_the_specification_is_small_json() -> None:
    for figure in FIGURES:
        content = figures.encode(draw(figure, "a", "b", PAGE), ".json")
        assert json.loads(content)["$schema"].startswith("https://vega.github.io/schema/vega-lite/")
        assert len(content) < 60_000


def test_the_renderer_can_be_started_before_there_is_anything_to_draw() -> None:
    figures.warm_up()
