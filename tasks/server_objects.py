"""Creates what a server needs beside the deployments: the work pool and the automations.

Run as `python -m tasks.server_objects POOL`; repeating it changes nothing. With `--no-worker` after it,
for a pool without a worker, the unfinished runs of an earlier worker are marked as crashed.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # ships no types
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectAlreadyExists
from prefect.states import Cancelled, Crashed

NO_WORKER = "--no-worker"
UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
MESSAGE = "The service was taken down or killed during the run. What was finished is kept."
PAGE = 200
AUTOMATIONS = Path(__file__).parents[1] / "automations.yaml"


def main() -> None:
    """Create the pool that the command line names, and all automations, on the server."""
    with get_client(sync_client=True) as client:
        put_work_pool(client, sys.argv[1])
        put_automations(client, declared_automations())
        if NO_WORKER in sys.argv[2:]:
            crash_lost_runs(client, sys.argv[1])


def declared_automations() -> list[dict[str, Any]]:
    """The automations of the checkout."""
    declared: list[dict[str, Any]] = yaml.safe_load(AUTOMATIONS.read_text())["automations"]
    return declared


def put_work_pool(client: SyncPrefectClient, name: str) -> None:
    """Create a pool for processes of one machine, unless it exists."""
    try:
        client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    except ObjectAlreadyExists:
        return


def put_automations(client: SyncPrefectClient, declared: Iterable[Mapping[str, Any]]) -> None:
    """Create or update each automation; one that a user switched off stays off."""
    for each in declared:
        automation = AutomationCore.model_validate(each)
        found = client.read_automations_by_name(automation.name)
        if not found:
            client.create_automation(automation)
        for known in found:
            wanted = automation.model_copy(update={"enabled": known.enabled})
            client.update_automation(known.id, wanted)


def crash_lost_runs(client: SyncPrefectClient, pool: str) -> int:
    """Mark every unfinished run of a pool as crashed, or cancelled, and return their number.

    Call it while the pool has no worker: after a server has started, before its worker. Runs that a
    user started outside the pool are left alone.
    """
    lost = list(_under_way(client, pool))
    for run in lost:
        # A run that a user has cancelled ends as cancelled.
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


if __name__ == "__main__":
    main()
