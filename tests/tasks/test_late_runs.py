"""Whether a run is skipped; `tests/e2e/test_backlog.py` asks a real server about a real backlog."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import httpx
import pytest
from prefect import flow
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from tasks import late_runs
from tasks.late_runs import SKIPPED_LATE, skip_if_late

DUE = datetime.now(UTC) - timedelta(hours=3)


@flow
def nightly() -> None:
    """A flow that a run can be of."""


def run(**differences: Any) -> FlowRun:
    asked = {
        "flow_id": uuid.uuid4(),
        "deployment_id": uuid.uuid4(),
        "auto_scheduled": True,
        "expected_start_time": DUE,
        "parameters": {"dataset": "digits"},
    }
    return FlowRun.model_validate(asked | differences)


@pytest.fixture(name="due")
def _due(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a server answer with these runs, or fail with an error."""

    def answer_with(*answer: FlowRun | Exception) -> None:
        monkeypatch.setattr(late_runs, "get_client", lambda **_: FakeClient(list(answer)))

    return answer_with


class FakeClient:
    """Answers one question."""

    def __init__(self, answer: list[Any]) -> None:
        self.answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_flow_runs(self, **_: Any) -> list[FlowRun]:
        if self.answer and isinstance(self.answer[0], Exception):
            raise self.answer[0]
        return self.answer


@contextmanager
def inside(flow_run: FlowRun) -> Iterator[None]:
    with FlowRunContext.model_construct(flow_run=flow_run, flow=nightly):
        yield


def test_a_late_run_with_a_newer_one_due_is_skipped(due: Callable[..., None]) -> None:
    due(run(expected_start_time=DUE + timedelta(hours=1), name="newer"))
    with inside(run()):
        state = skip_if_late()
    assert state is not None
    assert (state.type.value, state.name) == ("COMPLETED", SKIPPED_LATE)
    assert "newer" in str(state.message)


@pytest.mark.parametrize(
    "other",
    [
        run(),
        run(expected_start_time=DUE - timedelta(hours=1)),
        run(expected_start_time=DUE + timedelta(hours=1), parameters={"dataset": "eurosat"}),
        run(expected_start_time=DUE + timedelta(hours=1), auto_scheduled=False),
    ],
    ids=["due at the same time", "older", "with other parameters", "started by a person"],
)
def test_another_run_does_not_do_this_one_s_work(due: Callable[..., None], other: FlowRun) -> None:
    due(other)
    with inside(run()):
        assert skip_if_late() is None


@pytest.mark.parametrize("started", [{"auto_scheduled": False}, {"deployment_id": None}])
def test_a_run_that_a_person_started_is_not_skipped(
    due: Callable[..., None], started: dict[str, Any]
) -> None:
    due(run(expected_start_time=DUE + timedelta(hours=1)))
    with inside(run(**started)):
        assert skip_if_late() is None


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), OSError("no route")])
def test_a_server_that_does_not_answer_ends_no_run(
    due: Callable[..., None], error: Exception
) -> None:
    due(error)  # type: ignore[arg-type]
    with inside(run()):
        assert skip_if_late() is None


def test_outside_of_a_flow_there_is_nothing_to_skip() -> None:
    assert skip_if_late() is None
