"""What the documents tell people to type exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # ships no types

from clip_adapter.cli.app import build
from clip_adapter.datasets import describe, known_names

TARGET = re.compile(r"\bmake ((?:[a-z]+-)*[a-z]+)(?=[`\s.,;:)]|$)")
FLOWS = "train-adapters|extract-features|maintain-stores|reproduce-paper"
DEPLOYMENT = re.compile(rf"\b((?:{FLOWS})/[a-z0-9-]+)")
PROSE_AFTER_MAKE = {"them", "it", "a", "the", "of", "sure", "and"}


@pytest.fixture(scope="module", name="documents")
def _documents(checkout: Path) -> dict[str, str]:
    paths = [*checkout.glob("*.md"), *(checkout / "docs").rglob("*.md")]
    return {str(path.relative_to(checkout)): path.read_text() for path in paths}


@pytest.mark.parametrize(
    ("line", "problems"),
    [
        ("train digits --shots 1 --retrain  # --all of them", []),
        ('sql "SELECT 1 --not-an-option" --format json', []),
        ("trian digits", ["there is no command 'trian'"]),
        ("cache stat", ["there is no command 'stat'"]),
        ("train digits --shotz=1", ["there is no option --shotz"]),
    ],
)
def test_the_check_finds_what_it_is_meant_to_find(line: str, problems: list[str]) -> None:
    assert list(_problems(line)) == problems


def test_the_readme_shows_how_to_train_and_how_to_ask(documents: dict[str, str]) -> None:
    shown = {line.split()[0] for line in _typed_commands(documents["README.md"])}
    assert {"train", "sql"} <= shown


def test_every_command_and_option_in_the_documents_exists(documents: dict[str, str]) -> None:
    wrong = [
        f"{path}: clip-adapter {line}: {problem}"
        for path, text in documents.items()
        for line in _typed_commands(text)
        for problem in _problems(line)
    ]
    assert wrong == []


def test_every_make_target_in_the_documents_exists(
    documents: dict[str, str], checkout: Path
) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (checkout / "Makefile").read_text(), re.MULTILINE))
    named = {name for text in documents.values() for name in TARGET.findall(text)}
    assert named - targets - PROSE_AFTER_MAKE == set()


def test_every_deployment_in_the_documents_exists(
    documents: dict[str, str], checkout: Path
) -> None:
    declared = yaml.safe_load((checkout / "prefect.yaml").read_text())["deployments"]
    named = {name for text in documents.values() for name in DEPLOYMENT.findall(text)}
    assert named - {_full_name(each) for each in declared} == set()


def test_every_described_dataset_has_its_deployments(checkout: Path) -> None:
    declared = yaml.safe_load((checkout / "prefect.yaml").read_text())["deployments"]
    parameters = {_full_name(each): each.get("parameters", {}) for each in declared}
    for name in known_names():
        flows = ["extract-features"]
        if not describe(name).test_only:
            flows.append("train-adapters")
        for flow in flows:
            assert parameters[f"{flow}/{name}"]["dataset"] == name


def test_every_schedule_has_a_slug_and_says_whether_it_is_active(checkout: Path) -> None:
    """Without, deploying again adds a schedule instead of changing it, or leaves it on or off."""
    declared = yaml.safe_load((checkout / "prefect.yaml").read_text())["deployments"]
    schedules = [schedule for each in declared for schedule in each.get("schedules", [])]
    assert schedules
    assert all(schedule.get("slug") and schedule.get("timezone") for schedule in schedules)
    assert all("active" in schedule for schedule in schedules)


def _full_name(deployment: dict[str, Any]) -> str:
    flow = deployment["entrypoint"].rpartition(":")[2].replace("_", "-")
    return f"{flow}/{deployment['name']}"


def _typed_commands(text: str) -> Iterator[str]:
    """What follows `clip-adapter` in code: lines of blocks, and words between backticks."""
    for language, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL):
        if language == "text":  # what a command prints
            continue
        joined = block.replace("\\\n", " ")
        yield from re.findall(r"^(?:\$ )?(?:\S*/)?clip-adapter +(.*)$", joined, re.MULTILINE)
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from re.findall(r"`clip-adapter +([^`]*)`", plain)


def _problems(line: str) -> Iterator[str]:
    command: Any = build()
    command.list_commands(None)  # those of the checkout are added now
    words = re.sub(r"\"[^\"]*\"|'[^']*'", "QUOTED", line.partition(" #")[0]).split()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            yield f"there is no command {name!r}"
            return
        command = getattr(command.commands[name], "real", command.commands[name])
    known = {"--help"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}  # --no-... is of the latter
    options = {word.partition("=")[0].strip(".,;)") for word in words if word.startswith("--")}
    yield from (f"there is no option {option}" for option in sorted(options - known))


def test_the_table_of_datasets_is_what_their_files_say(documents: dict[str, str]) -> None:
    lines = documents["docs/datasets.md"].splitlines()
    rows = {line.split(" | ")[0].strip("| `"): line for line in lines if line.startswith("| `")}
    for name in known_names():
        described = describe(name)
        counts = (described.counts.get(split) for split in ("train", "val", "test"))
        cells = [
            described.title,
            f"{described.n_classes:,}",
            " / ".join("-" if count is None else f"{count:,}" for count in counts),
            described.templates[0],
            str(described.licence),
        ]
        assert rows[name].startswith(f"| `{name}` | {' | '.join(cells)} | ")
