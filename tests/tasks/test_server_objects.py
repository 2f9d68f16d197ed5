"""Putting the pool and the automations on a server again changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect import State, flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.states import Cancelling, Pending, Running

from tasks.server_objects import (
    calls_webhook,
    crash_lost_runs,
    declared_automations,
    put_automations,
    put_work_pool,
)

pytestmark = pytest.mark.usefixtures("prefect_server")
WITHOUT_WEBHOOK = [each for each in declared_automations() if not calls_webhook(each)]
NAMES = [each["name"] for each in WITHOUT_WEBHOOK]


@pytest.fixture(name="client")
def _client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        put_automations(client, declared_automations())
        yield client


@flow
def nothing() -> None:
    """Never run."""


def found(client: SyncPrefectClient, name: str) -> list[Any]:
    return client.read_automations_by_name(name)


def test_every_automation_is_there_once_however_often_it_is_put_there(
    client: SyncPrefectClient,
) -> None:
    put_automations(client, declared_automations())
    assert [len(found(client, name)) for name in NAMES] == [1] * len(NAMES)


def test_an_automation_that_changed_is_changed(client: SyncPrefectClient) -> None:
    declared = WITHOUT_WEBHOOK
    put_automations(client, [each | {"description": "new"} for each in declared])
    assert {found(client, name)[0].description for name in NAMES} == {"new"}


def test_an_automation_that_a_person_switched_off_stays_off(client: SyncPrefectClient) -> None:
    name = NAMES[0]
    client.pause_automation(found(client, name)[0].id)
    put_automations(client, declared_automations())
    assert [each.enabled for each in found(client, name)] == [False]


def test_without_a_url_nothing_that_calls_the_webhook_is_there(client: SyncPrefectClient) -> None:
    telling = [each["name"] for each in declared_automations() if calls_webhook(each)]
    assert len(telling) == 3
    assert [name for name in telling if found(client, name)] == []


@pytest.mark.parametrize(
    ("state", "end"),
    [(Pending(), "Crashed"), (Running(), "Crashed"), (Cancelling(), "Cancelled")],
    ids=["pending", "running", "cancelling"],
)
def test_a_run_of_the_pool_that_nobody_works_on_ends(
    client: SyncPrefectClient, state: State, end: str
) -> None:
    put_work_pool(client, "lost")
    (of_pool, alone) = (client.create_flow_run(nothing, state=state) for _ in range(2))
    deployment = client.create_deployment(
        flow_id=of_pool.flow_id, name="lost", work_pool_name="lost"
    )
    deployed = client.create_flow_run_from_deployment(deployment, state=state)
    waiting = client.create_flow_run_from_deployment(deployment)
    assert crash_lost_runs(client, "lost") == 1
    assert client.read_flow_run(deployed.id).state_name == end
    assert client.read_flow_run(waiting.id).state_name == "Scheduled"
    assert client.read_flow_run(alone.id).state_name == state.name
    assert crash_lost_runs(client, "lost") == 0


def test_the_work_pool_is_made_once(client: SyncPrefectClient) -> None:
    put_work_pool(client, "local-again")
    first = client.read_work_pool("local-again")
    put_work_pool(client, "local-again")
    assert client.read_work_pool("local-again").id == first.id
    assert first.type == "process"
