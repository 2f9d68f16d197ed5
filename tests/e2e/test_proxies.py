"""Proxies of the environment lead elsewhere: this machine's own server is spoken to without them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import COMMAND, Service, ended_afterwards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ANY = "http://127.0.0.1:9"
PROXIES = [
    {"ALL_PROXY": "socks5://127.0.0.1:9", "no_proxy": "intranet"},
    {"http_proxy": ANY, "HTTPS_PROXY": ANY, "all_proxy": "socks4://127.0.0.1:9"},
]


@pytest.fixture(name="service")
def _service(root: Path) -> Iterator[Service]:
    yield from ended_afterwards(Service(root))


@pytest.mark.parametrize("proxies", PROXIES)
def test_a_private_server_is_reached(
    proxies: dict[str, str], service: Service, photos: Path, tiny_model: str
) -> None:
    options = ["--model", tiny_model, "--methods", "zero-shot", "--shots", "1", "--seeds", "1"]
    done = subprocess.run(
        [COMMAND, "train", f"imagefolder:{photos}", *options, "--prefect", "--json"],
        env=service.environment | proxies, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs_trained"] == 1


def test_server_worker_and_deployments_come_up(service: Service) -> None:
    for proxies in PROXIES:
        service.environment.update(proxies)
    assert "up;" in service.up()
    assert service.status()["up"]
