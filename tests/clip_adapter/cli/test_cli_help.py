from collections.abc import Callable, Iterator
from typing import Any

import pytest

import clip_adapter
from clip_adapter.cli.app import build

CACHE = [
    f"cache {name}"
    for name in ("stats", "why", "verify", "gc", "drop", "compact", "import", "export")
]
DATASETS = [f"datasets {name}" for name in ("list", "fetch", "show", "check", "rename", "forget")]
ASKING = [
    "search",
    "sql",
    "compare",
    "report",
    "plot",
    "cache",
    *CACHE,
    "runs",
    "runs prune",
    "datasets",
    *DATASETS,
    "methods",
]
CHAMPIONS = ["champion", "rollback", "export", "export-results"]
SERVICE = ["up", "down", "status"]
COMMANDS = [*SERVICE, "demo", "extract", "train", "predict", "reproduce", *CHAMPIONS, *ASKING]


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_every_command_explains_itself(command: Callable[..., Any], name: str) -> None:
    outcome = command(*name.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert "Usage: " in outcome.out
    assert f"{name} [OPTIONS]" in outcome.out


@pytest.mark.parametrize("name", CACHE)
def test_a_cache_command_says_how_it_ends(command: Callable[..., Any], name: str) -> None:
    said = command(*name.split(), "--help").out
    assert "Exit codes: 0 " in said
    assert name.split()[1] in command("cache", "--help").out


def test_these_are_all_the_commands() -> None:
    assert sorted(_names(_all_commands())) == sorted(COMMANDS)


def test_the_help_lists_every_command_by_its_name(command: Callable[..., Any]) -> None:
    first_words = {
        line.strip("│ ").partition(" ")[0] for line in command("--help").out.splitlines()
    }
    assert first_words >= {name for name in COMMANDS if " " not in name}


def test_every_command_takes_a_root() -> None:
    without_a_store = {"cache", "runs", "methods"}
    root = _all_commands()
    for name in set(COMMANDS) - without_a_store:
        assert "--root" in _options(root, name)


def test_every_command_with_a_summary_can_say_it_in_json() -> None:
    root = _all_commands()
    for name in set(COMMANDS) - {"cache", "runs", "predict", "search", "sql", "up", "down"}:
        assert "--json" in _options(root, name)
    for name in ("search", "sql"):
        assert "--format" in _options(root, name)


def test_the_version_is_printed_alone(command: Callable[..., Any]) -> None:
    assert command("--version").out == f"{clip_adapter.__version__}\n"


def _all_commands() -> Any:
    group: Any = build()
    group.list_commands(None)  # those of the checkout are added now
    return group


def real(command: Any) -> Any:
    """A command that has been imported."""
    return getattr(command, "real", command)


def _names(group: Any, prefix: str = "") -> Iterator[str]:
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        sub = real(group.get_command(None, name))
        yield f"{prefix}{name}"
        yield from _names(sub, f"{prefix}{name} ")


def _options(group: Any, name: str) -> set[str]:
    for part in name.split():
        group = real(group.get_command(None, part))
    return {option for parameter in group.params for option in parameter.opts}


def test_the_list_of_commands_says_what_each_command_says_first() -> None:
    groups = [build()]
    groups += [real(groups[0].commands[name]) for name in ("cache", "datasets")]
    groups[0].list_commands(None)
    for group in groups:
        for name, command in group.commands.items():
            whole = " ".join((real(command).help or "").split("\n\n")[0].split())
            assert command.help == whole, name
