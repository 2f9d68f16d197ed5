"""The commands about a service where none is up; `tests/e2e` brings one up."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def test_nothing_is_up_at_first(command: Command, root: Path) -> None:
    outcome = command("status", "--root", root)
    said = f"nothing is up for {root / 'prefect'}: `clip-adapter up` starts it\n"
    assert (outcome.code, outcome.out) == (1, said)
    assert not root.exists()


def test_programs_learn_that_nothing_is_up(command: Command, root: Path) -> None:
    told = json.loads(command("status", "--root", root, "--json").out)
    assert told == {"up": False, "stage": "nothing is up", "logs": str(root / "prefect" / "logs")}


def test_ending_nothing_is_no_error(command: Command, root: Path) -> None:
    outcome = command("down", "--root", root)
    assert (outcome.code, outcome.out) == (0, "nothing is up\n")


def test_a_taken_port_is_an_error_in_one_line(command: Command, root: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        outcome = command("up", "--root", root, "--port", port)
    assert outcome.code == 1
    assert f"port {port} of 127.0.0.1 cannot be had" in outcome.err
    assert "--port" in outcome.err
    assert command("status", "--root", root).code == 1


def test_a_root_that_cannot_hold_a_database_is_refused(command: Command, tmp_path: Path) -> None:
    outcome = command("up", "--root", tmp_path / "50%")
    assert outcome.code == 1
    assert "choose a root without" in outcome.err


@pytest.mark.parametrize("port", ["0", "70000", "http"])
def test_a_port_is_a_number_that_can_be(command: Command, root: Path, port: str) -> None:
    assert command("up", "--root", root, "--port", port).code == 2
