"""Figures as text: sound XML, the same each time, and nothing a name could break."""

import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from clip_adapter.report.charts import COLOURS, accuracy_figure, study_figure, warm_up
from clip_adapter.report.numbers import mean_of
from clip_adapter.report.results import MethodSeries, method_series, read_results
from clip_adapter.report.studies import Scale, Study, Variant
from clip_adapter.runs import connect
from clip_adapter.shots import ALL_SHOTS

HOSTILE = '</text><script>alert("x")</script>\x1b & \u202e'


def series(root: Path) -> list[MethodSeries]:
    with connect(root) as database:
        (results,) = read_results(database)
    return method_series(results.runs)


def study(scale: Scale, *names: str) -> Study:
    return Study(
        name="study",
        recipe="paper",
        varied="what",
        scale=scale,
        variants=tuple(
            Variant(
                name=name, position=2.0**place, means={1: mean_of([0.5, 0.6]), 4: mean_of([0.7])}
            )
            for place, name in enumerate(names)
        ),
        seeds=(1, 2),
    )


def words(svg: str) -> list[str]:
    drawn = ET.fromstring(svg)  # noqa: S314  # drawn here
    return [element.text for element in drawn.iter() if element.text]


def test_a_figure_names_every_method_and_number_of_shots(digits: Path) -> None:
    shown = words(accuracy_figure(series(digits), title="Accuracy on digits"))
    for word in ("Accuracy on digits", "clip-adapter", "linear-probe", "zero-shot", "1", "4"):
        assert word in shown


def test_the_same_series_give_the_same_bytes(digits: Path) -> None:
    first = accuracy_figure(series(digits), title="one")
    study_figure(study("names", "a", "b"), title="between")
    assert accuracy_figure(series(digits), title="one") == first
    # More of the drawing is clipped than one part, so that their numbers matter.
    assert len(set(re.findall(r'id="clip(\d+)"', first))) > 1


@pytest.mark.parametrize("scale", ["numbers", "octaves", "names"])
def test_a_study_is_drawn_with_a_series_a_number_of_shots(scale: Scale) -> None:
    svg = study_figure(study(scale, "first", "second"), title="a study")
    assert {"a study", "what", "1 shot", "4 shots"} <= set(words(svg))
    assert {"first", "second"} <= set(words(svg)) or scale != "names"
    assert svg.count(COLOURS[0]) > 0 < svg.count(COLOURS[1])


def test_hostile_names_are_words_in_a_figure(put_runs: Callable[..., None], root: Path) -> None:
    put_runs([100, 110, 120], method=HOSTILE)
    for svg in (
        accuracy_figure(series(root), title=HOSTILE),
        study_figure(study("names", HOSTILE, "b"), title=HOSTILE),
    ):
        assert "<script" not in svg
        assert "\x1b" not in svg
        assert any("alert" in word for word in words(svg))


def test_a_store_of_zero_shot_alone_is_drawn(put_runs: Callable[..., None], root: Path) -> None:
    put_runs([120], seeds=[None], method="zero-shot", shots=0)
    assert "zero-shot" in words(accuracy_figure(series(root), title="alone"))


def test_all_shots_stand_to_the_right_of_every_number(
    put_runs: Callable[..., None], root: Path
) -> None:
    for shots in (1, 16, ALL_SHOTS):
        put_runs([100, 110], seeds=[1, 2], shots=shots)
    shown = words(accuracy_figure(series(root), title="t"))
    assert [word for word in shown if word in {"1", "16", "32", "all"}] == ["1", "16", "all"]


def test_an_interval_that_leaves_the_frame_does_not_press_the_lines_flat() -> None:
    wide = study("octaves", "a", "b")
    means = {1: mean_of([0.0, 1.0]), 4: mean_of([0.52])}
    variants = tuple(
        Variant(name=each.name, position=each.position, means=means) for each in wide.variants
    )
    wild = Study(**{**vars(wide), "variants": variants})
    shown = words(study_figure(wild, title="t"))
    # The axis reaches from 48 to 54; with the interval of the first series, from 0 to 100.
    assert "50.0" in shown
    assert not {"0", "0.0", "100", "100.0"} & set(shown)


def test_the_renderer_can_be_started_before_there_is_anything_to_draw() -> None:
    warm_up()
