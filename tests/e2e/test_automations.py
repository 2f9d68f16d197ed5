"""What the server does by itself, with real events: pause after a regression, call dead runs dead."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Prefect, wait_until

from tasks.server_objects import declared_automations

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Automate = Callable[..., None]
MakePrefect = Callable[[Path, Path], Prefect]
REGRESSING = """
from prefect import flow
from prefect.events import emit_event

@flow(name="regress")
def regress(dataset: str = "digits"):
    emit_event(
        "clip-adapter.model.regressed",
        resource={"prefect.resource.id": f"clip-adapter.champion.{dataset}"},
        payload={"dataset": dataset},
    )
"""
SLEEPING = """
import time
from prefect import flow

@flow(name="sleep")
def sleep():
    time.sleep(600)
"""


@pytest.fixture(scope="module", name="server")
def _server(make_prefect: MakePrefect, tmp_path_factory: pytest.TempPathFactory) -> Prefect:
    folder = tmp_path_factory.mktemp("automations")
    prefect = make_prefect(folder / "prefect", folder / "store")
    prefect.start_server()
    return prefect


@pytest.fixture(name="automate")
def _automate(server: Prefect) -> Iterator[Automate]:
    """Put one of those declared, under another name, so that nobody puts it right."""
    made: list[str] = []

    def automate(key: str, **within: int) -> None:
        (each,) = (a for a in declared_automations() if a["name"] == f"clip-adapter-{key}")
        ours = each | {"name": f"test-{key}", "trigger": each["trigger"] | within}
        made.append(server.call("POST", "/automations/", ours)["id"])

    yield automate
    for id_ in made:
        server.call("DELETE", f"/automations/{id_}")


def deploy_script(prefect: Prefect, script: Path, name: str, *options: str) -> str:
    """Deploy the one flow of a script, which is called as the script is."""
    command = ("prefect", "--no-prompt", "deploy", f"{script}:{script.stem}", "--name", name)
    pool = ("--pool", "local", "--job-variable", '{"stream_output": false}')
    prefect.run(*command, *pool, *options)
    return f"{script.stem}/{name}"


def test_a_regression_pauses_the_deployment_that_trained(
    server: Prefect, automate: Automate, tmp_path: Path
) -> None:
    automate("pause-after-regression")
    server.start_worker()
    (tmp_path / "regress.py").write_text(REGRESSING)
    script = tmp_path / "regress.py"
    name = deploy_script(server, script, "spoiled", "--cron", "0 2 * * *", "--timezone", "UTC")
    other = deploy_script(server, script, "sound", "--cron", "0 3 * * *", "--timezone", "UTC")
    assert not server.deployment(name)["paused"]
    server.wait_for(server.run_deployment(name), "Completed")
    wait_until(lambda: server.deployment(name)["paused"], 60)
    assert [r["state_name"] for r in server.runs_of(name)] == ["Completed"]  # none is scheduled
    assert not server.deployment(other)["paused"]
    server.signal("worker")


def test_a_run_that_falls_silent_is_called_crashed(
    server: Prefect, automate: Automate, tmp_path: Path
) -> None:
    automate("crash-silent-runs", within=40)
    server.start_worker()
    (tmp_path / "sleep.py").write_text(SLEEPING)
    name = deploy_script(server, tmp_path / "sleep.py", "silent")
    silent, alive = server.run_deployment(name), server.run_deployment(name)
    for run in (silent, alive):
        server.wait_for(run, "Running")
    wait_until(lambda: server.logs(silent) and server.logs(alive), 60)
    server.signal("worker", signal.SIGKILL)
    server.kill_run(silent)
    crashed = server.wait_for(silent, "Crashed", seconds=180)
    assert "heartbeat" in crashed["state"]["message"]
    assert server.flow_run(alive)["state_name"] == "Running"


def test_a_run_that_nobody_starts_any_more_is_called_crashed(
    server: Prefect, automate: Automate, tmp_path: Path
) -> None:
    automate("crash-stuck-runs", within=10)
    (tmp_path / "sleep.py").write_text(SLEEPING)
    server.make_pool()
    name = deploy_script(server, tmp_path / "sleep.py", "stuck")
    run = server.run_deployment(name)
    pending: dict[str, Any] = {"state": {"type": "PENDING", "name": "Pending"}}
    server.call("POST", f"/flow_runs/{run}/set_state", pending)
    crashed = server.wait_for(run, "Crashed", seconds=120)
    assert "worker" in crashed["state"]["message"]
