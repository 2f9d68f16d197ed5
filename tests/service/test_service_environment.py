"""Loopback only, with a password that nobody else can read, and nobody told."""

import stat
import subprocess
from pathlib import Path

import pytest

from service.environment import (
    changed_names,
    no_proxy_env,
    service_environment,
    write_shell_file,
)
from service.folder import ServiceFolder

PLACES = {"CLIP_ADAPTER_ROOT": "/data/a store's"}


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> ServiceFolder:
    folder = ServiceFolder(tmp_path / "prefect")
    folder.make()
    return folder


def environment(folder: ServiceFolder, **inherited: str) -> dict[str, str]:
    return service_environment(folder, 4321, inherited=inherited, places=PLACES)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_server_listens_on_loopback_asks_for_a_password_and_tells_nobody(
    folder: ServiceFolder,
) -> None:
    made = environment(folder)
    assert made["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert made["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert made["PREFECT_SERVER_API_AUTH_STRING"] == folder.password.read_text().strip()
    assert made["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert made["DO_NOT_TRACK"] == "1"


def test_no_proxy_comes_between_the_processes_of_this_machine(folder: ServiceFolder) -> None:
    made = environment(folder, HTTP_PROXY="http://proxy:3128", NO_PROXY="intranet")
    assert made["HTTP_PROXY"] == "http://proxy:3128"
    write_shell_file(folder, made)
    for name in ("NO_PROXY", "no_proxy"):
        assert made[name] == "intranet,127.0.0.1"
        assert f"export {name}=intranet,127.0.0.1\n" in folder.shell_file.read_text()


def test_a_proxy_that_no_client_can_use_is_hidden_from_clients_and_not_forgotten(
    folder: ServiceFolder,
) -> None:
    made = environment(folder, ALL_PROXY="socks9://there:1", https_proxy="http://proxy:3128")
    assert "ALL_PROXY" not in made
    assert made["UNUSED_ALL_PROXY"] == "socks9://there:1"
    assert made["https_proxy"] == "http://proxy:3128"


def test_the_password_is_long_and_its_user_s_alone(folder: ServiceFolder) -> None:
    environment(folder)
    user, _, password = folder.password.read_text().strip().partition(":")
    assert user == "admin"
    assert len(password) >= 32
    assert mode(folder.password) == 0o600
    assert mode(folder.path) == 0o700


def test_the_password_stays_what_it_was(folder: ServiceFolder) -> None:
    assert (
        environment(folder)["PREFECT_API_AUTH_STRING"]
        == environment(folder)["PREFECT_API_AUTH_STRING"]
    )


def test_two_services_have_two_passwords(folder: ServiceFolder, tmp_path: Path) -> None:
    other = ServiceFolder(tmp_path / "other")
    other.make()
    names = ("PREFECT_API_AUTH_STRING",)
    assert [environment(folder)[n] for n in names] != [environment(other)[n] for n in names]


def test_another_server_s_key_and_address_are_left_behind(folder: ServiceFolder) -> None:
    made = environment(folder, PREFECT_API_KEY="pnu_x", PREFECT_API_URL="https://elsewhere")
    assert "PREFECT_API_KEY" not in made
    assert made["PREFECT_API_URL"].startswith("http://127.0.0.1")


def test_what_the_user_tuned_stays(folder: ServiceFolder) -> None:
    made = environment(folder, PREFECT_WORKER_QUERY_SECONDS="9", HOME="/home/me")
    assert (made["PREFECT_WORKER_QUERY_SECONDS"], made["HOME"]) == ("9", "/home/me")


def test_a_shell_that_sources_the_file_is_a_client(folder: ServiceFolder) -> None:
    made = environment(folder, PATH="/usr/bin:/bin")
    write_shell_file(folder, made)
    asked = '. "$1"; printf %s "$CLIP_ADAPTER_ROOT $PREFECT_API_URL $PREFECT_API_AUTH_STRING"'
    told = subprocess.run(
        ["sh", "-c", asked, "sh", str(folder.shell_file)],
        capture_output=True,
        text=True,
        check=True,
        env={},
    ).stdout
    login = folder.password.read_text().strip()
    assert told == f"/data/a store's http://127.0.0.1:4321/api {login}"
    assert mode(folder.shell_file) == 0o600
    assert "SERVER" not in folder.shell_file.read_text()


def test_what_differs_from_the_one_that_is_up_is_named(folder: ServiceFolder) -> None:
    made = environment(folder, CLIP_ADAPTER_DATA="/old #1", PATH="/usr/bin")
    write_shell_file(folder, made)
    assert changed_names(folder, made | {"PATH": "/bin", "HOME": "/home/me"}) == []
    other = environment(folder, CLIP_ADAPTER_DATA="/new", CLIP_ADAPTER_ENCODERS="2")
    assert changed_names(folder, other) == ["CLIP_ADAPTER_DATA", "CLIP_ADAPTER_ENCODERS"]
    del made["CLIP_ADAPTER_DATA"]
    made["PREFECT_API_URL"] = "http://127.0.0.1:4322/api"
    assert changed_names(folder, made) == ["CLIP_ADAPTER_DATA", "port"]


@pytest.mark.parametrize(
    ("inherited", "expected"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "intranet"}, "intranet,127.0.0.1"),
        ({"NO_PROXY": "unread", "no_proxy": "a,b"}, "a,b,127.0.0.1"),
        ({"NO_PROXY": "127.0.0.1,a"}, "127.0.0.1,a"),
    ],
)
def test_exceptions_from_the_proxy_grow_by_this_machine(
    inherited: dict[str, str], expected: str
) -> None:
    assert no_proxy_env(inherited) == {"NO_PROXY": expected, "no_proxy": expected}


def test_the_url_of_a_webhook_is_no_business_of_a_shell(folder: ServiceFolder) -> None:
    places = {
        "CLIP_ADAPTER_ROOT": "/store",
        "CLIP_ADAPTER_WEBHOOK_URL": "https://example.org/hunter2",
    }
    made = service_environment(folder, 4200, inherited={}, places=places)
    assert made["CLIP_ADAPTER_WEBHOOK_URL"].endswith("hunter2")
    write_shell_file(folder, made)
    assert "CLIP_ADAPTER_ROOT=/store" in folder.shell_file.read_text()
    assert "hunter2" not in folder.shell_file.read_text()
    assert changed_names(folder, made) == []
