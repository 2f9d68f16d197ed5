"""What was asked is recorded in order, and which state of a dataset is current follows from it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import (
    RequestRecord,
    RequestStore,
    RunStoreError,
    current_index,
    query,
)
from feature_cache import Location, compact_folder, stored_folders

Ask = Callable[..., RequestRecord]
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
FULL = RequestRecord(
    request_id="a" * 32,
    sequence=1,
    asked_at=NOON,
    command="train",
    dataset="digits",
    index_fingerprint="index",
    encoder="encoder",
    model="glyphs",
    request_fingerprint="request",
    parameters='{"shots": [1, 4]}',
    run_ids=("b" * 32,),
    run_fingerprints=("run",),
    git_commit="c0ffee",
)


def test_what_was_asked_is_read_back(any_root: Location) -> None:
    RequestStore(any_root).append(FULL)
    assert RequestStore(any_root).history("digits") == [FULL]
    assert RequestStore(any_root).history("eurosat") == []


def test_requests_are_numbered_by_dataset(root: Path, ask_for: Ask) -> None:
    store = RequestStore(root)
    assert store.next_sequence("digits") == 1
    ask_for(1)
    ask_for(2)
    assert (store.next_sequence("digits"), store.next_sequence("eurosat")) == (3, 1)


def test_the_state_last_asked_for_is_current_whatever_clocks_say(root: Path, ask_for: Ask) -> None:
    assert current_index(root, "digits") is None
    for number, state in ((1, "a"), (2, "b"), (3, "a")):
        ask_for(number, index_fingerprint=state, asked_at=NOON - timedelta(days=number))
        assert current_index(root, "digits") == state
    assert [each.sequence for each in RequestStore(root).history("digits")] == [1, 2, 3]
    assert current_index(root, "eurosat") is None


def test_a_request_that_did_not_look_at_the_images_decides_nothing(
    root: Path, ask_for: Ask
) -> None:
    ask_for(1, index_fingerprint="a")
    ask_for(2, command="predict", index_fingerprint=None)
    assert current_index(root, "digits") == "a"


def test_of_two_requests_at_once_the_greater_id_counts(root: Path, ask_for: Ask) -> None:
    ask_for(2, sequence=1, index_fingerprint="b", asked_at=NOON - timedelta(days=1))
    ask_for(1, index_fingerprint="a")
    assert current_index(root, "digits") == "b"
    assert query(root, "SELECT index_fingerprint FROM requests").num_rows == 2


def test_a_request_that_two_files_hold_counts_once(root: Path, ask_for: Ask) -> None:
    first, second = ask_for(1), ask_for(2)
    for folder in stored_folders(root):
        compact_folder(folder)
    RequestStore(root).append(first)
    assert RequestStore(root).history("digits") == [first, second]
    assert query(root, "SELECT sequence FROM requests").to_pylist() == [
        {"sequence": 1},
        {"sequence": 2},
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"request_id": "7"}, "an id is '7', expected 32 lower-case hex digits"),
        ({"run_ids": ("A" * 32,)}, "an id is 'AAA"),
        ({"sequence": 0}, "sequence is 0, expected 1 or more"),
        ({"asked_at": datetime(2026, 1, 1)}, "in no timezone"),  # noqa: DTZ001  # that is the point
        ({"parameters": "shots=1"}, "expected a JSON object"),
        ({"parameters": "[]"}, "expected a JSON object"),
    ],
)
def test_a_request_that_makes_no_sense_cannot_be_made(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RunStoreError, match=said):
        replace(FULL, **wrong)
