"""A webhook is told of runs that fail, crash, are late or find a regression, by a real server."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from servers import Prefect, wait_until

from tasks.server_objects import WEBHOOK, declared_automations, with_webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MakePrefect = Callable[[Path, Path], Prefect]
Told = list[dict[str, Any]]
HOSTILE = 'a "b" </script>{{ 7 * 7 }}'
REGRESSING = """
from prefect import flow
from prefect.events import emit_event

@flow(name="regress")
def regress():
    emit_event(
        "clip-adapter.model.regressed",
        resource={"prefect.resource.id": "clip-adapter.dataset.digits"},
        payload={"dataset": "digits", "reason": "proven worse: 60 % of 100 images right"},
    )
"""
SLEEPING = """
import time
from prefect import flow

@flow(name="sleep")
def sleep(dataset: str = "digits"):
    time.sleep(600)
"""


@contextmanager
def listening() -> Iterator[tuple[str, Told]]:
    """The URL of a webhook on loopback, and what it was told."""
    told: Told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook?token=hunter2", told
        server.shutdown()


@pytest.fixture(scope="module", name="webhook")
def _webhook() -> Iterator[tuple[str, Told]]:
    with listening() as found:
        yield found


@pytest.fixture(scope="module", name="server")
def _server(
    make_prefect: MakePrefect,
    webhook: tuple[str, Told],
    tmp_path_factory: pytest.TempPathFactory,
) -> Prefect:
    folder = tmp_path_factory.mktemp("webhook")
    prefect = make_prefect(folder / "prefect", folder / "store")
    prefect.environment["CLIP_ADAPTER_WEBHOOK_URL"] = webhook[0]
    prefect.start_server()
    prefect.make_pool()
    return prefect


@pytest.fixture(name="told")
def _told(webhook: tuple[str, Told]) -> Told:
    webhook[1].clear()
    return webhook[1]


def deploy_script(prefect: Prefect, script: Path, text: str) -> str:
    """Deploy the one flow of a script, which is called as the script is."""
    script.write_text(text)
    prefect.run(
        *("prefect", "--no-prompt", "deploy", f"{script}:{script.stem}", "--name", "told"),
        *("--pool", "local", "--job-variable", '{"stream_output": false}'),
    )
    return f"{script.stem}/told"


def test_a_failed_run_is_told_with_its_reason_and_the_command_that_shows_more(
    server: Prefect, told: Told
) -> None:
    server.deploy("digits")
    server.start_worker()
    run = server.run_deployment("train-adapters/digits", dataset=f"imagefolder:/nowhere/{HOSTILE}")
    server.wait_for(run, "Failed")
    wait_until(lambda: told, 60)
    (message,) = told
    text = message.pop("text")
    reason = message.pop("reason")
    assert reason.startswith(f"there is no folder /nowhere/{HOSTILE}; write imagefolder:PATH")
    assert message == {
        "what": "failed",
        "dataset": f"imagefolder:/nowhere/{HOSTILE}",
        "deployment": "train-adapters/digits",
        "command": f"prefect flow-run logs {run}",
    }
    assert reason in text
    assert text.endswith(f"prefect flow-run logs {run}")


def test_a_killed_run_is_told_and_one_that_completes_is_not(
    server: Prefect, told: Told, tmp_path: Path
) -> None:
    if not server.is_started("worker"):
        server.start_worker()
    name = deploy_script(server, tmp_path / "sleep.py", SLEEPING)
    completed = server.run_deployment("train-adapters/digits", methods=["zero-shot"], promote=False)
    server.wait_for(completed, "Completed")
    run = server.run_deployment(name, dataset="digits")
    server.wait_for(run, "Running")
    wait_until(lambda: server.logs(run), 60)
    server.kill_run(run)
    server.wait_for(run, "Crashed")
    wait_until(lambda: told, 60)
    (message,) = told
    assert (message["what"], message["dataset"]) == ("crashed", "digits")
    assert message["command"].endswith(run)


def test_a_regression_is_told(server: Prefect, told: Told, tmp_path: Path) -> None:
    if not server.is_started("worker"):
        server.start_worker()
    name = deploy_script(server, tmp_path / "regress.py", REGRESSING)
    server.wait_for(server.run_deployment(name), "Completed")
    wait_until(lambda: told, 60)
    (message,) = told
    assert (message["what"], message["dataset"]) == ("regressed", "digits")
    assert message["reason"] == "proven worse: 60 % of 100 images right"
    assert message["deployment"] == "regress/told"
    assert message["command"] == "clip-adapter champion digits --history"


def test_a_run_that_nobody_starts_is_told(server: Prefect, told: Told, tmp_path: Path) -> None:
    if server.is_started("worker"):
        server.signal("worker")
    block = f"/block_types/slug/webhook/block_documents/name/{WEBHOOK}"
    (late,) = (a for a in declared_automations() if a["name"] == "clip-adapter-tell-late")
    soon = with_webhook(late, UUID(server.call("GET", block)["id"]))
    soon["actions"] = [
        {**action, "block_document_id": str(action["block_document_id"])}
        for action in soon["actions"]
    ]
    soon |= {"name": "test-late", "trigger": late["trigger"] | {"within": 10}}
    server.call("POST", "/automations/", soon)
    name = deploy_script(server, tmp_path / "sleep.py", SLEEPING)
    server.run_deployment(name, dataset="digits")
    wait_until(lambda: told, 120)
    message = told[0]
    assert (message["what"], message["dataset"]) == ("late", "digits")
    assert message["command"] == "clip-adapter status"


def test_the_url_is_a_secret_of_the_server_and_without_it_nothing_is_told(server: Prefect) -> None:
    block = server.call("GET", f"/block_types/slug/webhook/block_documents/name/{WEBHOOK}")
    assert "hunter2" not in json.dumps(block)
    names = {each["name"] for each in server.call("POST", "/automations/filter", {})}
    assert {"clip-adapter-tell-failed", "clip-adapter-tell-late"} < names
    del server.environment["CLIP_ADAPTER_WEBHOOK_URL"]
    server.run("python", "-m", "tasks.server_objects", "local")
    names = {each["name"] for each in server.call("POST", "/automations/filter", {})}
    assert not [name for name in names if name.startswith("clip-adapter-tell")]
    assert "clip-adapter-pause-after-regression" in names
    found = server.api.get(f"/block_types/slug/webhook/block_documents/name/{WEBHOOK}")
    assert found.status_code == 404
