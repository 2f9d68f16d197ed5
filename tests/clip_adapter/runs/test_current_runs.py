"""Which runs count follows from what was asked for last, and from clocks only in older stores."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import ImagePredictions, RequestRecord, RunResult, RunStore, query

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
Ask = Callable[..., RequestRecord]
ResultOf = Callable[..., RunResult]


def before_noon(hours: int) -> datetime:
    return NOON - timedelta(hours=hours)


def only(root: Path, sql: str) -> Any:
    (row,) = query(root, sql).to_pylist()
    (value,) = row.values()
    return value


@pytest.fixture(name="two_states")
def _two_states(
    root: Path, result_of: ResultOf, predictions_of: Callable[..., ImagePredictions]
) -> None:
    """A run on each of the states `a` and `b`; the later one by the clock is that on `b`."""
    states = (("a", 0.9, 0), ("b", 0.5, 1))
    RunStore(root).record(
        [
            replace(
                result_of(number, accuracy, seed=1, index_fingerprint=state, started_at=started),
                predictions=predictions_of(predicted),
            )
            for number, ((state, accuracy, predicted), started) in enumerate(
                zip(states, (before_noon(9), NOON), strict=True), start=1
            )
        ]
    )


def accuracy(root: Path) -> float:
    found: float = only(root, "SELECT accuracy_mean FROM leaderboard")
    return found


@pytest.mark.usefixtures("two_states")
def test_images_that_are_put_back_show_their_numbers_again(root: Path, ask_for: Ask) -> None:
    recall = "SELECT recall FROM per_class WHERE class_name = 'zero'"
    assert (accuracy(root), only(root, recall)) == (0.5, 0.0)
    for number, state in ((1, "a"), (2, "b"), (3, "a")):
        # The clock goes backwards.
        ask_for(number, index_fingerprint=state, asked_at=before_noon(number))
        expected = {"a": (0.9, 1.0), "b": (0.5, 0.0)}[state]
        assert (accuracy(root), only(root, recall)) == expected


@pytest.mark.usefixtures("two_states")
def test_a_state_without_runs_hides_no_numbers(root: Path, ask_for: Ask) -> None:
    ask_for(1, index_fingerprint="a")
    ask_for(2, index_fingerprint="new", command="extract")
    assert accuracy(root) == 0.9


@pytest.mark.usefixtures("two_states")
def test_another_dataset_or_encoder_that_is_asked_for_changes_nothing(
    root: Path, ask_for: Ask
) -> None:
    ask_for(1, index_fingerprint="a", encoder="other")
    ask_for(1, index_fingerprint="a", dataset="eurosat")
    assert accuracy(root) == 0.5


def test_each_encoder_has_its_own_current_state(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    RunStore(root).record(
        [
            result_of(place, place / 10, encoder=encoder, index_fingerprint=state)
            for place, (encoder, state) in enumerate((e, s) for e in "xy" for s in "ab")
        ]
    )
    for number, (encoder, state) in enumerate(["xa", "yb", "xb", "ya"], start=1):
        ask_for(number, encoder=encoder, index_fingerprint=state)
    rows = query(root, "SELECT encoder, accuracy_mean FROM leaderboard ORDER BY ALL").to_pylist()
    assert [tuple(row.values()) for row in rows] == [("x", 0.1), ("y", 0.2)]


def test_of_two_requests_at_once_the_greater_id_decides(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    RunStore(root).record(
        [result_of(1, 0.9, index_fingerprint="a"), result_of(2, 0.5, index_fingerprint="b")]
    )
    ask_for(7, sequence=1, index_fingerprint="a")
    ask_for(3, sequence=1, index_fingerprint="b")
    assert accuracy(root) == 0.9


@pytest.mark.parametrize(
    ("named", "by"), [("run_ids", "run_id"), ("run_fingerprints", "fingerprint")]
)
def test_of_one_configuration_the_run_that_answers_the_last_request_counts(
    root: Path, ask_for: Ask, result_of: ResultOf, *, named: str, by: str
) -> None:
    old = result_of(1, 0.9, seed=1, started_at=before_noon(9), fingerprint="old")
    new = result_of(2, 0.5, seed=1, fingerprint="new")
    RunStore(root).record([old, new])
    names = [(getattr(each.run, by),) for each in (old, new)]
    ask_for(1, **{named: names[1]})
    assert accuracy(root) == 0.5
    ask_for(2, **{named: names[0]})
    assert accuracy(root) == 0.9
    assert only(root, "SELECT asked FROM current_runs") == 2


def test_a_run_made_again_replaces_its_twin_and_goes_on_doing_so(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    first = result_of(1, 0.9, seed=1, fingerprint="twin")
    second = result_of(2, 0.5, seed=1, fingerprint="twin", started_at=before_noon(9))
    RunStore(root).record([first, second])
    for number, result in ((1, first), (2, second)):
        ask_for(number, run_ids=(result.run.run_id,), run_fingerprints=("twin",))
    assert accuracy(root) == 0.5
    ask_for(3, run_fingerprints=("twin",))
    assert accuracy(root) == 0.5


def test_of_runs_that_one_request_names_the_smaller_id_counts(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    twins = [
        result_of(1, 0.9, seed=1, started_at=before_noon(9)),
        result_of(2, 0.5, seed=1),
    ]
    RunStore(root).record(twins)
    ask_for(1, run_ids=tuple(each.run.run_id for each in twins))
    assert accuracy(root) == 0.9


def test_an_encoder_has_the_name_it_was_last_asked_for_by(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    RunStore(root).record(
        [result_of(1, model="new", started_at=before_noon(9)), result_of(2, model="old")]
    )
    assert only(root, "SELECT model FROM leaderboard") == "old"
    ask_for(1, model="old")
    ask_for(2, model="new", asked_at=before_noon(9))
    assert only(root, "SELECT DISTINCT model FROM current_runs") == "new"
    assert only(root, "SELECT model FROM leaderboard") == "new"


def test_requests_on_another_dataset_have_numbers_of_their_own(
    root: Path, ask_for: Ask, result_of: ResultOf
) -> None:
    run = result_of(1)
    RunStore(root).record([run])
    ask_for(1, run_ids=(run.run.run_id,))
    ask_for(2, sequence=9, dataset="eurosat", run_ids=(run.run.run_id,))
    assert query(root, "SELECT asked, named FROM asked_runs").to_pylist() == [
        {"asked": 1, "named": 1}
    ]
