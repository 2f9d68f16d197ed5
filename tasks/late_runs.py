"""Skips a late scheduled run when a newer one is due."""

from datetime import UTC, datetime
from typing import Any

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Completed

SKIPPED_LATE = "SkippedLate"
"""Name of the completed state of a run that was skipped."""

_DOES_THE_WORK = [
    StateType.SCHEDULED,  # late ones, too
    StateType.PENDING,
    StateType.RUNNING,
    StateType.COMPLETED,
]


def skip_if_late() -> State[Any] | None:
    """The final state of the current flow run if it is to be skipped; None if it has work to do.

    After an outage every missed run is started. Of the scheduled runs of one deployment with equal
    parameters that are due by now, only the newest does the work. A run that a user started, from the
    UI or by a command, is never skipped. If the server does not answer, the run goes on, which is safe:
    finished work is not repeated.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.deployment_id is None:
        return None
    try:
        newer = _newest_due(run)
    except (httpx.HTTPError, PrefectException, OSError) as error:
        get_run_logger().warning(f"whether a newer run is due could not be asked: {error}")
        return None
    if newer is None:
        return None
    message = f"{newer.name}, due at {newer.expected_start_time}, does the work"
    get_run_logger().info(f"nothing to do: {message}")
    return Completed(name=SKIPPED_LATE, message=message)


def _newest_due(run: FlowRun) -> FlowRun | None:
    due = {"after_": run.expected_start_time, "before_": datetime.now(UTC)}
    state = {"type": {"any_": _DOES_THE_WORK}, "name": {"not_any_": [SKIPPED_LATE]}}
    wanted = {
        "deployment_id": {"any_": [run.deployment_id]},
        "expected_start_time": due,
        "state": state,
    }
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate(wanted),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        )
    return next((each for each in found if _replaces(each, run)), None)


def _replaces(other: FlowRun, run: FlowRun) -> bool:
    if other.expected_start_time is None or run.expected_start_time is None:
        return False
    return (
        other.auto_scheduled
        and other.expected_start_time > run.expected_start_time  # the API's `after` includes it
        and other.parameters == run.parameters
    )
