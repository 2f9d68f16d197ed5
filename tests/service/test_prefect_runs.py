"""What is set before Prefect is imported, so that its client can be made."""

import os
from pathlib import Path

import pytest

from clip_adapter.errors import UnavailableError
from service.prefect_runs import _configure_prefect

PROXY = "socks9://user:secret@127.0.0.1:9"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set here is forgotten afterwards."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["ALL_PROXY"] = PROXY


@pytest.mark.parametrize("server", ["", "http://127.0.0.1:4200/api", "http://localhost:4200/api"])
def test_a_proxy_that_cannot_be_used_does_not_matter_to_a_server_on_this_machine(
    server: str, tmp_path: Path
) -> None:
    os.environ["PREFECT_API_URL"] = server
    _configure_prefect(tmp_path)
    assert "ALL_PROXY" not in os.environ
    assert os.environ["UNUSED_ALL_PROXY"] == PROXY


def test_to_a_server_elsewhere_nothing_goes_around_the_proxy(tmp_path: Path) -> None:
    os.environ["PREFECT_API_URL"] = "https://prefect.example/api"
    with pytest.raises(UnavailableError) as refused:
        _configure_prefect(tmp_path)
    assert "server is at prefect.example, and the proxy ALL_PROXY=socks9://" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert os.environ["ALL_PROXY"] == PROXY
