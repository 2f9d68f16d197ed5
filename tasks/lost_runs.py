"""Flow runs that a server believes to be under way and that no process works on any more."""

from collections.abc import Iterator

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Crashed

__all__ = ["crash_lost_runs"]

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
MESSAGE = "The service was taken down or killed during the run. What was finished is kept."
PAGE = 200


def crash_lost_runs(client: SyncPrefectClient, pool: str) -> int:
    """Call every run of a pool that is under way crashed, or cancelled; how many there were.

    For a moment in which nothing works for the pool: after a server has started, before its worker.
    Runs that a person started outside the pool are left alone.
    """
    lost = list(_under_way(client, pool))
    for run in lost:
        # What a person has cancelled ends as that.
        ends = Cancelled if run.state_type == StateType.CANCELLING else Crashed
        client.set_flow_run_state(run.id, ends(message=MESSAGE))
    return len(lost)


def _under_way(client: SyncPrefectClient, pool: str) -> Iterator[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY)))
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    offset = 0
    while page := client.read_flow_runs(
        flow_run_filter=wanted, work_pool_filter=of_pool, limit=PAGE, offset=offset
    ):
        yield from page
        offset += PAGE
