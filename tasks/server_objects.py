"""Creates what a server needs beside the deployments: the work pool, the webhook and the automations.

Run as `python -m tasks.server_objects POOL`; repeating it changes nothing. With `--no-worker` after it,
for a pool without a worker, the unfinished runs of an earlier worker are marked as crashed.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml  # type: ignore[import-untyped]  # ships no types
from prefect.blocks.webhook import Webhook
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
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.states import Cancelled, Crashed
from pydantic import SecretStr

from clip_adapter.settings import Settings

NO_WORKER = "--no-worker"
WEBHOOK = "clip-adapter-webhook"
"""Name of the block with the URL, and what stands for its id in automations.yaml."""
UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
MESSAGE = "The service was taken down or killed during the run. What was finished is kept."
PAGE = 200
AUTOMATIONS = Path(__file__).parents[1] / "automations.yaml"


def main() -> None:
    """Create the pool that the command line names, and all automations, on the server."""
    with get_client(sync_client=True) as client:
        put_work_pool(client, sys.argv[1])
        put_automations(client, declared_automations(), webhook=put_webhook(client))
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


def put_webhook(client: SyncPrefectClient) -> UUID | None:
    """Create or update the block with the URL of `CLIP_ADAPTER_WEBHOOK_URL`, or remove it.

    Returns:
        The id of the block; None where the variable is not set.

    Raises:
        ParameterError: the variable is no URL.
    """
    url = Settings.of().webhook_url
    if url:
        try:
            block: Any = Webhook.load(WEBHOOK)  # with headers that a user may have added
            block.url = SecretStr(url)
        except ValueError:  # there is none
            block = Webhook(url=SecretStr(url))
        saved: Any = block.save(WEBHOOK, overwrite=True)
        return UUID(str(saved))
    with suppress(ObjectNotFound):
        found = client.read_block_document_by_name(WEBHOOK, "webhook")
        if found.id:
            client.delete_block_document(found.id)
    return None


def put_automations(
    client: SyncPrefectClient, declared: Iterable[Mapping[str, Any]], *, webhook: UUID | None = None
) -> None:
    """Create or update each automation; one that a user switched off stays off.

    Args:
        client: client of the server.
        declared: automations as `automations.yaml` has them.
        webhook: id of the block that is called; without one, automations that call it are removed.
    """
    for each in declared:
        found = client.read_automations_by_name(each["name"])
        if calls_webhook(each) and webhook is None:
            for known in found:
                client.delete_automation(known.id)
            continue
        automation = AutomationCore.model_validate(with_webhook(each, webhook))
        if not found:
            client.create_automation(automation)
        for known in found:
            wanted = automation.model_copy(update={"enabled": known.enabled})
            client.update_automation(known.id, wanted)


def calls_webhook(declared: Mapping[str, Any]) -> bool:
    """Whether an automation calls the webhook."""
    return any(action.get("block_document_id") == WEBHOOK for action in declared["actions"])


def with_webhook(declared: Mapping[str, Any], webhook: UUID | None) -> dict[str, Any]:
    """An automation with the id of the block in place of the word that stands for it."""
    actions = [
        {**action, "block_document_id": webhook}
        if action.get("block_document_id") == WEBHOOK
        else action
        for action in declared["actions"]
    ]
    return {**declared, "actions": actions}


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
