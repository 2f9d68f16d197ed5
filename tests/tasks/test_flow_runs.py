"""Runs have names that a person can read, and fail with their reason alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import State

from clip_adapter.datasets import DatasetError
from tasks.flow_runs import fails_with_reason, subject


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"dataset": "eurosat"}, ["eurosat"]),
        ({"dataset": "imagefolder:~/my photos/"}, ["my photos"]),
        ({"dataset": "imagefolder:/srv/photos", "name": "garden"}, ["garden"]),
        ({"dataset": "csv:/srv/birds.csv"}, ["birds"]),
        ({"dataset": "csv:"}, ["csv:"]),  # which the run refuses
        ({"dataset": "digits", "study": "paper"}, ["digits", "paper"]),
        ({"root": "/srv/store"}, []),
        ({}, []),
    ],
)
def test_a_run_is_called_after_its_dataset(parameters: dict[str, str], words: list[str]) -> None:
    assert subject(parameters) == words


@given(st.text(min_size=1))
def test_no_name_is_markup_or_longer_than_a_line(name: str) -> None:
    (word,) = subject({"dataset": "imagefolder:/photos", "name": name})
    assert len(word) <= 60
    assert not set(word) & set("[]<>\n\x1b")


def test_an_error_that_says_what_to_do_is_the_whole_message() -> None:
    @fails_with_reason
    def refuse() -> None:
        raise DatasetError("there is no folder /nope")

    state = refuse()
    assert isinstance(state, State)
    assert state.is_failed()
    assert state.message == "there is no folder /nope"
    with pytest.raises(DatasetError, match="there is no folder"):
        state.result()


def test_any_other_error_is_left_to_prefect_which_logs_where_it_came_from() -> None:
    @fails_with_reason
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
