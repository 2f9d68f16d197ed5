"""What choosing on test images adds, from recorded runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.report.pages import html_report, write_sections
from clip_adapter.report.results import read_results
from clip_adapter.report.selection_costs import (
    ORACLE,
    SelectionCosts,
    read_selection_costs,
    selection_costs_table,
)
from clip_adapter.report.studies import studies_of
from clip_adapter.runs import connect

PutRuns = Callable[..., None]
Put = Callable[..., None]


@pytest.fixture(name="put")
def _put(put_runs: PutRuns) -> Put:
    """Runs of the study with so many right images of 200, one a seed."""

    def put(right: Sequence[int], selected_on: str, **settings: Any) -> None:
        name = f"{selected_on} {settings}"
        put_runs(
            right,
            study="selection",
            selected_on=selected_on,
            hyperparameters=settings,
            settings_fingerprint=name,
        )

    return put


@pytest.fixture(name="costs")
def _costs(put: Put, root: Path) -> SelectionCosts:
    put([120, 130], "test (oracle)", selection="validation", selection_images="test")
    put([118, 120], "validation", selection="validation", selection_images="whole")
    put([110, 124], "validation", selection="validation")
    put([110], "held-out shots", selection="held-out-shots")
    put([100, 110], "nothing", selection="none")
    (found,) = read_selection_costs(root, dataset="digits", encoder="0123456789abcdef")
    return found


def test_what_the_oracle_adds_is_the_mean_over_the_seeds_that_both_have(
    costs: SelectionCosts,
) -> None:
    assert (costs.method, costs.recipe, costs.shots, costs.seeds) == (
        "clip-adapter",
        "paper",
        4,
        (1, 2),
    )
    assert costs.accuracy[ORACLE].value == pytest.approx(0.625)
    assert {choice: round(mean.value, 6) for choice, mean in costs.added.items()} == {
        "whole validation split": 0.03,
        "few validation images": 0.04,
        "held-out shots": 0.05,
        "defaults": 0.1,
    }
    assert costs.added["defaults"].half_width == pytest.approx(0.0)
    assert costs.added["held-out shots"].half_width is None


def test_the_table_has_points_with_intervals(costs: SelectionCosts) -> None:
    table = selection_costs_table([costs])
    assert table.header[2:4] == ("chosen on test", "over whole validation split")
    assert table.rows[0][:2] == ("clip-adapter (recipe paper)", "4 shots")
    assert table.rows[0][-2:] == ("+5.0", "+10.0 ± 0.0")


@pytest.mark.usefixtures("costs")
def test_a_report_has_the_table_and_no_figure_of_it(root: Path) -> None:
    with connect(root) as database:
        (results,) = read_results(database)
        text = html_report(write_sections(database, [results]))
    assert studies_of(results.study_runs) == []
    assert "What choosing on test images adds" in text
    assert "-accuracy" not in text


def test_what_chose_counts_and_not_what_was_asked_to(put: Put, root: Path) -> None:
    put([120, 130], "test (oracle)", selection="validation", selection_images="test")
    put([100, 110], "nothing", selection="held-out-shots")
    (found,) = read_selection_costs(root, dataset="digits", encoder="0123456789abcdef")
    assert set(found.added) == {"defaults"}
