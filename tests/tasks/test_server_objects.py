"""Putting the pool and the automations on a server again changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from tasks.server_objects import declared_automations, put_automations, put_work_pool

pytestmark = pytest.mark.usefixtures("prefect_server")
NAMES = [each["name"] for each in declared_automations()]


@pytest.fixture(name="client")
def _client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        put_automations(client, declared_automations())
        yield client


def found(client: SyncPrefectClient, name: str) -> list[Any]:
    return client.read_automations_by_name(name)


def test_every_automation_is_there_once_however_often_it_is_put_there(
    client: SyncPrefectClient,
) -> None:
    put_automations(client, declared_automations())
    assert [len(found(client, name)) for name in NAMES] == [1] * len(NAMES)


def test_an_automation_that_changed_is_changed(client: SyncPrefectClient) -> None:
    declared = declared_automations()
    put_automations(client, [each | {"description": "new"} for each in declared])
    assert {found(client, name)[0].description for name in NAMES} == {"new"}


def test_an_automation_that_a_person_switched_off_stays_off(client: SyncPrefectClient) -> None:
    name = NAMES[0]
    client.pause_automation(found(client, name)[0].id)
    put_automations(client, declared_automations())
    assert [each.enabled for each in found(client, name)] == [False]


def test_the_work_pool_is_made_once(client: SyncPrefectClient) -> None:
    put_work_pool(client, "local-again")
    first = client.read_work_pool("local-again")
    put_work_pool(client, "local-again")
    assert client.read_work_pool("local-again").id == first.id
    assert first.type == "process"
