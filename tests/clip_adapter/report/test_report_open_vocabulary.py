"""The table of classes added by name, from recorded runs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.report import write_report
from clip_adapter.report.open_vocabulary import (
    OpenVocabulary,
    open_vocabulary_of,
    open_vocabulary_table,
)
from clip_adapter.report.studies import studies_of
from clip_adapter.runs import (
    BASE_TO_NEW,
    OPEN_VOCABULARY,
    RunResult,
    RunSettings,
    RunStore,
    connect,
    read_runs,
)

PutRuns = Callable[..., None]
Measure = Callable[..., list[RunResult]]
NUMBERS = {"base_accuracy": 0.9, "base_accuracy_among_all": 0.8, "new_accuracy": 0.7}


@pytest.fixture(name="measured")
def _measured(put_runs: PutRuns, root: Path) -> Measure:
    """Runs of the study, one a value of `new_accuracy_among_all`."""

    def make(new: Sequence[float], **fields: Any) -> list[RunResult]:
        put_runs([100] * len(new), study=OPEN_VOCABULARY, protocol="base-to-new", **fields)
        with connect(root) as database:
            found = read_runs(database, "study_runs")
        wanted = [each for each in found if each.run.method == fields.get("method", "clip-adapter")]
        return [
            replace(
                each,
                metrics={
                    **each.metrics,
                    **{BASE_TO_NEW[name]: value for name, value in NUMBERS.items()},
                    BASE_TO_NEW["base_accuracy_among_all"]: 0.8 + value / 10,
                    BASE_TO_NEW["new_accuracy_among_all"]: value,
                    BASE_TO_NEW["harmonic_mean_among_all"]: value / 2,
                },
            )
            for each, value in zip(wanted, new, strict=True)
        ]

    return make


def test_means_are_over_seeds_and_the_change_is_seed_by_seed(measured: Measure) -> None:
    (found,) = open_vocabulary_of(measured([0.2, 0.3, 0.4]))
    assert (found.method, found.recipe, found.shots) == ("clip-adapter", "paper", 4)
    assert found.seeds == (1, 2, 3)
    assert found.new_among_all.value == pytest.approx(0.3)
    # Student's t for two degrees of freedom, 4.303, times 0.1 / sqrt(3).
    assert found.new_among_all.half_width == pytest.approx(0.2484, abs=1e-4)
    assert found.harmonic_mean_among_all.value == pytest.approx(0.15)
    assert found.change.value == pytest.approx(-0.07)
    assert found.change.half_width == pytest.approx(0.02484, abs=1e-5)
    assert found.base.half_width == pytest.approx(0)


def test_the_rows_are_in_percent_with_points_of_change(measured: Measure) -> None:
    table = open_vocabulary_table(open_vocabulary_of(measured([0.2, 0.3, 0.4])))
    assert table.rows == (
        (
            "clip-adapter (recipe paper)",
            "4 shots",
            "90.0 ± 0.0",
            "83.0 ± 2.5",
            "-7.0 ± 2.5",
            "30.0 ± 24.8",
            "15.0 ± 12.4",
        ),
    )


def test_zero_shot_comes_first_and_recipes_are_told_apart(measured: Measure) -> None:
    fast = RunSettings(recipe="fast")
    results = [
        *measured([0.2], method="a-method", settings=fast, settings_fingerprint="fast"),
        *measured([0.2], method="zero-shot", shots=0, settings=RunSettings()),
        *measured([0.2]),
    ]
    found = [(each.method, each.recipe) for each in open_vocabulary_of(results)]
    assert found == [("zero-shot", ""), ("a-method", "fast"), ("clip-adapter", "paper")]


def test_a_run_that_was_made_again_counts_once(measured: Measure) -> None:
    (old,) = measured([0.2])
    later = replace(old, run=replace(old.run, started_at=datetime(2026, 11, 24, tzinfo=UTC)))
    new = replace(later, metrics={**old.metrics, BASE_TO_NEW["new_accuracy_among_all"]: 0.6})
    for order in ([old, new], [new, old]):
        (found,) = open_vocabulary_of(order)
        assert found.new_among_all.value == 0.6


def test_runs_of_other_studies_are_passed_over(measured: Measure) -> None:
    (one,) = measured([0.2])
    assert open_vocabulary_of([replace(one, run=replace(one.run, study="branch"))]) == []


def test_a_report_has_the_table_and_no_figure_of_one_accuracy(
    measured: Measure, tmp_path: Path
) -> None:
    runs = measured([0.2, 0.3, 0.4])
    assert studies_of(tuple(runs)) == []
    RunStore(tmp_path / "other").record(runs)
    written = write_report(tmp_path / "other", tmp_path / "page.md")
    assert written.figures == ()
    page = written.page.read_text()
    assert "### Open vocabulary" in page
    assert "30.0 ± 24.8" in page


def test_an_interval_needs_two_seeds(measured: Measure) -> None:
    found: OpenVocabulary
    (found,) = open_vocabulary_of(measured([0.2]))
    assert found.change.half_width is None
    assert open_vocabulary_table([found]).rows[0][4] == "-8.0"
