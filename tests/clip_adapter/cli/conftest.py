"""The command as a person runs it: arguments in, exit code and two streams out."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from clip_adapter.cli import main


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: object
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `clip-adapter` in this process, on a wide terminal without colours."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["clip-adapter", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_of_command:
            main()
        said = capsys.readouterr()
        return Outcome(exit_of_command.value.code, said.out, said.err)

    return run


@pytest.fixture
def train(command: Command, photos: Path, root: Path, tiny_model: str) -> Command:
    """Run a quick `clip-adapter train` on the ninety photos."""
    place = ("--root", root, "--model", tiny_model)
    quick = ("--shots", "1", "--seeds", "1,2", "--set", "clip-adapter.epochs=2")
    return partial(command, "train", f"imagefolder:{photos}", *place, *quick)


@pytest.fixture
def extract(command: Command, photos: Path, root: Path, tiny_model: str) -> Command:
    """Run `clip-adapter extract` on the ninety photos."""
    return partial(
        command, "extract", f"imagefolder:{photos}", "--root", root, "--model", tiny_model
    )
