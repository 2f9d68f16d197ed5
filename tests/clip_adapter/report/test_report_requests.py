"""A report shows what was asked for last, also where the clock was set back in between."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.report.results import DatasetResults, read_results
from clip_adapter.report.studies import studies_of
from clip_adapter.runs import RequestRecord, RequestStore, RunSettings, connect

EARLIER = datetime(2020, 1, 1, tzinfo=UTC)
PutRuns = Callable[..., None]


def ask_for(root: Path, number: int, runs: Iterable[int] = (), index: str = "index") -> None:
    record = RequestRecord(
        request_id=f"{number:032x}",
        sequence=number,
        asked_at=EARLIER - timedelta(days=number),
        command="train",
        dataset="digits",
        index_fingerprint=index,
        encoder="0123456789abcdef",
        model="glyphs",
        run_ids=tuple(f"{run:032x}" for run in runs),
    )
    RequestStore(root).append(record)


def results(root: Path) -> DatasetResults:
    with connect(root) as database:
        (found,) = read_results(database)
    return found


def test_images_that_are_put_back_are_reported_again(root: Path, put_runs: PutRuns) -> None:
    put_runs([180], index_fingerprint="a", started_at=EARLIER)
    put_runs([100], index_fingerprint="b")
    for number, (index, accuracy) in enumerate((("a", 0.9), ("b", 0.5), ("a", 0.9)), start=1):
        ask_for(root, number, index=index)
        (series,) = results(root).series
        assert series.rows[4]["accuracy_mean"] == accuracy


def test_a_variant_that_was_asked_for_again_counts_once(root: Path, put_runs: PutRuns) -> None:
    common: dict[str, Any] = {"study": "branch", "settings": RunSettings(branch="text")}
    put_runs([100], settings_fingerprint="old", **common)
    put_runs([180], settings_fingerprint="new", started_at=EARLIER, **common)
    ask_for(root, 1, [0])
    ask_for(root, 2, [1])
    (text,) = studies_of(results(root).study_runs)[0].variants
    assert text.means[4].value == pytest.approx(0.9)
    assert results(root).recency == (2, 0.0, f"{1:032x}")


def test_a_failure_that_was_put_right_is_not_reported(root: Path, put_runs: PutRuns) -> None:
    put_runs([0], status="failed", error="the loss is not finite")
    put_runs([180], started_at=EARLIER)
    ask_for(root, 1, [0])
    assert [each["n_runs"] for each in results(root).failures] == [1]
    ask_for(root, 2, [1])
    assert results(root).failures == ()


def test_of_several_settings_the_one_asked_for_last_is_the_reference(
    root: Path, put_runs: PutRuns
) -> None:
    put_runs([100], settings_fingerprint="old")
    put_runs([180], settings_fingerprint="new", started_at=EARLIER)
    ask_for(root, 1, [0])
    ask_for(root, 2, [1])
    reference = results(root).reference
    assert reference is not None
    assert reference.configuration.settings_fingerprint == "new"
