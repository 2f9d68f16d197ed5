"""One command brings everything up, another ends just that, and nothing that dies stays dead."""

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from servers import wait_until
from services import Service, ended_afterwards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(name="service")
def _service(root: Path) -> Iterator[Service]:
    """On a root where nothing was ever up."""
    yield from ended_afterwards(Service(root))


@pytest.fixture(name="used", scope="module")
def _used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """On a root that tests have in common: up or down, as the one before has left it."""
    yield from ended_afterwards(Service(tmp_path_factory.mktemp("used") / "store"))


def test_one_command_brings_all_up_and_another_ends_it(service: Service) -> None:
    told = service.up()
    assert f"http://127.0.0.1:{service.port}" in told
    assert str(service.folder / "password") in told
    assert f". {service.folder / 'environment.sh'}" in told
    assert service.login()[1] not in told
    running = service.processes()
    assert [len(running[kind]) for kind in ("supervisor", "server", "worker")] == [1, 1, 1]
    # Nobody without the password learns anything, and nobody beyond this machine is answered.
    assert service.get("/health").status_code == 200
    assert service.get("/admin/version").status_code == 401
    assert service.get("/admin/version", auth=service.login()).status_code == 200
    assert stat.S_IMODE((service.folder / "password").stat().st_mode) == 0o600
    settings = service.get("/admin/settings", auth=service.login()).json()
    assert settings["server"]["analytics_enabled"] is False
    assert service.status()["up"]
    # Again says so and changes nothing.
    again = service.up()
    assert "up;" in again
    assert "with another" not in again
    service.environment["CLIP_ADAPTER_DATA"] = "/elsewhere"
    assert "with another CLIP_ADAPTER_DATA" in service.up()
    assert service.processes() == running
    # A person in another terminal.
    shell = f". {service.folder / 'environment.sh'} && prefect deployment ls"
    listed = subprocess.run(
        ["sh", "-c", shell], env={"HOME": "/nowhere", "COLUMNS": "200"}, text=True,
        capture_output=True, check=True, cwd=service.root.parent,
    )  # fmt: skip
    assert "train-adapters/digits" in listed.stdout
    ended = service.run("down")
    assert (ended.returncode, ended.stdout) == (0, "everything has ended\n")
    assert service.pids() == []
    assert not service.status()["up"]


@pytest.mark.parametrize("kind", ["server", "worker"])
def test_what_is_killed_is_started_again(used: Service, kind: str) -> None:
    used.up()
    (victim,) = used.processes()[kind]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: used.processes()[kind] not in ([], [victim]), 60)
    wait_until(lambda: is_healthy(used), 60)
    assert used.status()["up"]


def test_after_everything_was_killed_it_comes_up_again(used: Service) -> None:
    used.up()
    first = used.login()
    for pid in used.pids():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: used.pids() == [], 10)
    assert not used.status()["up"]
    used.up()
    assert used.login() == first


@pytest.mark.parametrize("how", ["up", "down"])
def test_what_outlives_a_killed_supervisor_is_found(used: Service, how: str) -> None:
    used.up()
    running = used.processes()
    os.kill(running["supervisor"][0], signal.SIGKILL)
    assert not used.status()["up"]
    if how == "up":
        used.up()
        assert used.processes()["server"] != running["server"]
    else:
        used.run("down")
        assert used.pids() == []


@pytest.mark.parametrize("moment", ["starting", "encoding"])
def test_a_run_under_way_ends_with_the_service(used: Service, moment: str) -> None:
    """While it is being started, or already encoding."""
    used.up()
    held = used.stored()
    base = f"http://127.0.0.1:{used.port}/api"
    with httpx.Client(base_url=base, auth=used.login()) as client:
        deployment = client.get("/deployments/name/extract-features/digits").json()["id"]
        asked = {"parameters": {"views": 90}, "state": {"type": "SCHEDULED"}}
        client.post(f"/deployments/{deployment}/create_flow_run", json=asked).raise_for_status()
    assert used.status()["runs"][0]["deployment"] == "extract-features/digits"
    wait_until(lambda: used.processes()["other"], 60)
    if moment == "encoding":
        wait_until(lambda: used.stored() - held, 120)
    assert used.run("down").returncode == 0
    assert used.pids() == []
    used.up()
    ended = used.status()["runs"][0]
    assert (ended["state"], ended["has_failed"]) == ("Crashed", True)
    assert "taken down" in ended["message"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["supervisor", "server", "setup"])
def test_an_interrupted_start_leaves_nothing_running(
    used: Service, number: signal.Signals, kind: str
) -> None:
    """As soon as a process of this kind is there."""
    used.run("down")
    starting = used.start_up()
    wait_until(lambda: used.processes()[kind] or starting.poll() is not None, 180, every=0.05)
    starting.send_signal(number)
    _, told = starting.communicate(timeout=120)
    assert starting.returncode in (130, 143), told
    assert used.pids() == []


def test_a_start_that_fails_leaves_nothing_running_and_says_why(service: Service) -> None:
    service.environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = "sqlite+aiosqlite:////no/db"
    done = service.run("up", "--port", service.port)
    assert done.returncode == 1
    assert "server" in done.stderr
    assert service.pids() == []


def test_two_starts_at_once_make_one_service(service: Service) -> None:
    starting = [service.start_up() for _ in range(2)]
    for each in starting:
        out, err = each.communicate(timeout=300)
        assert each.returncode == 0, err
        assert "up;" in out
    assert [len(service.processes()[kind]) for kind in ("supervisor", "server", "worker")] == [
        1,
        1,
        1,
    ]
    service.run("down")
    assert service.pids() == []


def is_healthy(service: Service) -> bool:
    with suppress(httpx.HTTPError):
        return service.get("/health").status_code == 200
    return False
