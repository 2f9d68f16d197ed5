"""Commands that entry points add, and what is said where the checkout's are not installed."""

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from clip_adapter.cli import extensions
from clip_adapter.errors import UnavailableError

Command = Callable[..., Any]
Install = Callable[..., list[str]]
LOADED: list[str] = []


def greet(name: str = "you") -> None:
    """Greet somebody."""
    print(f"hello {name}")  # noqa: T201  # what a command does


def __getattr__(name: str) -> Any:
    """Notes that an entry point to this module was loaded; one lacks a package."""
    if name == "noted":
        LOADED.append(name)
        return greet
    if name == "needy":
        importlib.import_module("nowhere_to_be_found")
    raise AttributeError(name)


@pytest.fixture(name="install")
def _install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Make these the entry points of the group, by name."""

    def install(**values: str) -> None:
        found = [EntryPoint(name, value, extensions.GROUP) for name, value in values.items()]
        monkeypatch.setattr(
            extensions, "entry_points", lambda *, group, **_: found if group else []
        )
        LOADED.clear()

    return install  # type: ignore[return-value]


def test_an_entry_point_is_a_command_with_help_and_options(
    command: Command, install: Install
) -> None:
    install(greet=f"{__name__}:greet")
    assert command("greet", "--name", "all").out == "hello all\n"
    assert "Greet somebody." in command("greet", "--help").out
    assert "Greet somebody." in command("--help").out


def test_a_command_of_the_library_loads_no_entry_point(command: Command, install: Install) -> None:
    install(noted=f"{__name__}:noted", methods=f"{__name__}:noted")
    assert "Greet" not in command("methods", "--help").out
    assert LOADED == []
    command("noted")
    assert LOADED == ["noted"]


def test_an_entry_point_without_its_module_is_skipped(command: Command, install: Install) -> None:
    install(up="nowhere_to_be_found:up", greet=f"{__name__}:greet")
    listed = command("--help").out
    assert "Greet somebody." in listed
    assert "│ up " not in listed
    assert command("up").code == 1


@pytest.mark.parametrize("name", ["up", "down", "status"])
def test_without_a_checkout_its_commands_say_where_they_come_from(
    command: Command, install: Install, name: str
) -> None:
    install()
    outcome = command(name, "--root", "anywhere")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.startswith(f"error: `clip-adapter {name}` comes with a checkout")
    assert "pip install -e . -e ./service" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_another_name_is_a_usage_error(command: Command, install: Install) -> None:
    install()
    outcome = command("upp")
    assert outcome.code == 2
    assert "No such command 'upp'" in outcome.err


def test_an_entry_point_that_cannot_be_loaded_is_listed_with_the_reason(
    command: Command, install: Install
) -> None:
    install(broken=f"{__name__}:nothing_of_that_name", greet=f"{__name__}:greet")
    listed = command("--help").out
    assert "Broken: " in listed
    assert "Greet somebody." in listed
    refused = command("broken")
    assert refused.code == 1
    assert f"{__name__}:nothing_of_that_name cannot be loaded: nothing_of_that_name" in refused.err
    assert "repair or uninstall" in refused.err


def test_a_runner_of_flows_that_lacks_a_package_names_the_package(install: Install) -> None:
    install(**{extensions.RUNNER: f"{__name__}:needy"})
    with pytest.raises(UnavailableError, match="needs the package 'nowhere_to_be_found'"):
        extensions.prefect_runner()
    install(**{extensions.RUNNER: "nowhere_to_be_found.runs:run"})
    with pytest.raises(UnavailableError, match="comes with a checkout"):
        extensions.prefect_runner()
