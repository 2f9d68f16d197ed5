"""A Prefect server for the time of a benchmark."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 120


@contextmanager
def running_server(place: Path) -> Iterator[str]:
    """A server on loopback with its database in a folder; yields the address of its API.

    Raises:
        RuntimeError: it ended, or did not answer within two minutes.
    """
    port = _free_port()
    api = f"http://127.0.0.1:{port}/api"
    words = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    own = {"PREFECT_HOME": str(place), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with (place.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *words], env=os.environ | own, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_healthy(api, server)
        yield api
    finally:
        server.terminate()
        server.wait(30)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables for the processes that are started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_healthy(api: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{api}/health", timeout=5).close()  # noqa: S310  # loopback
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"no Prefect server at {api} after {START_SECONDS} s: see its log")
