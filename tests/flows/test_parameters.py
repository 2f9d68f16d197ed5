"""A flow's parameters and a command's options are those of one request."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.cli.requests import option_names
from clip_adapter.errors import ClipAdapterError
from clip_adapter.pipeline.requests import (
    ExtractRequest,
    MaintainRequest,
    ReproduceRequest,
    Request,
    TrainRequest,
)
from clip_adapter.shots import ALL_SHOTS
from flows.extract_features import extract_features
from flows.maintain_stores import maintain_stores
from flows.reproduce_paper import reproduce_paper
from flows.train_adapters import train_adapters

Command = Callable[..., Any]
FLOWS: dict[Any, type[Request]] = {
    extract_features: ExtractRequest,
    train_adapters: TrainRequest,
    reproduce_paper: ReproduceRequest,
    maintain_stores: MaintainRequest,
}
COMMANDS: dict[str, type[Request]] = {
    "extract": ExtractRequest,
    "train": TrainRequest,
    "reproduce": ReproduceRequest,
}
SHARED = {
    "--model": ("hf-hub:org/repo", {"model": "hf-hub:org/repo"}),
    "--images": ("/images", {"images": "/images"}),
    "--data": ("/data", {"data": "/data"}),
    "--root": ("/store", {"root": "/store"}),
    "--device": ("cuda:1", {"device": "cuda:1"}),
    "--precision": ("bf16", {"precision": "bf16"}),
    "--resize": ("squash", {"resize": "squash"}),
    "--preprocessing": ("openai", {"preprocessing": "openai"}),
    "--augmentation": ("coop", {"augmentation": "coop"}),
    "--name": ("pets", {"name": "pets"}),
    "--class-names": ("/names.csv", {"class_names": "/names.csv"}),
    "--ignore": ("models/*", {"ignore": ["models/*"]}),
    "--columns": ("path=file,label=species", {"columns": {"path": "file", "label": "species"}}),
    "--follow-links": ("/annex", {"follow_links": "/annex"}),
    "--max-pixels": ("200000000", {"max_pixels": 200_000_000}),
    "--max-bad-fraction": ("0.5", {"max_bad_fraction": 0.5}),
    "--parts": ("3", {"parts": 3}),
}
SPLITS = {
    "--shots": ("1,all", {"shots": [1, ALL_SHOTS]}),
    "--seeds": ("7,8", {"seeds": [7, 8]}),
    "--short-classes": ("skip", {"short_classes": "skip"}),
    "--few-shot-indices": ("/indices", {"few_shot_indices": "/indices"}),
    "--selection": ("held-out-shots", {"selection": "held-out-shots"}),
    "--no-validation": (None, {"validation": False}),
}
OPTIONS: dict[str, dict[str, tuple[str | None, dict[str, Any]]]] = {
    "extract": SHARED
    | {
        "--views": ("4", {"views": 4}),
        "--processes": ("2", {"processes": 2}),
        "--part": ("3/20", {"part": "3/20"}),
    },
    "train": SHARED
    | SPLITS
    | {
        "--methods": ("gda, lp++", {"methods": ["gda", "lp++"]}),
        "--set": ("gda.epochs=[2]", {"settings": {"gda": {"epochs": [2]}}}),
        "--template": ("a {}.", {"templates": ["a {}."]}),
        "--study": ("mine", {"study": "mine"}),
        "--budget": ("50", {"budget": 50}),
        "--protocol": ("base-to-new", {"protocol": "base-to-new"}),
        "--test-on": ("eurosat, features:x", {"test_on": ["eurosat", "features:x"]}),
        "--max-relabelled-fraction": ("1", {"max_relabelled_fraction": 1.0}),
        "--retrain": (None, {"retrain": True}),
        "--promote": (None, {"promote": True}),
    },
    "reproduce": SHARED
    | SPLITS
    | {
        "--recipe": ("fast", {"recipe": "fast"}),
        "--augmentation": ("tip-adapter", {"augmentation": "tip-adapter"}),
    },
}
"""For every option a value on the command line, and the parameter that it means."""


@pytest.mark.parametrize(
    ("flow", "kind"), FLOWS.items(), ids=lambda each: getattr(each, "name", "")
)
def test_a_flow_takes_the_parameters_of_its_request(flow: Any, kind: type[Request]) -> None:
    parameters = inspect.signature(flow.fn).parameters
    assert {*parameters} == {*kind.model_fields}
    schema = flow.parameters.model_dump()
    for name, field in kind.model_fields.items():
        if not field.is_required():
            assert parameters[name].default == field.default
        assert schema["properties"][name]["description"] == field.description
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    assert (schema["required"] or []) == required


@pytest.fixture(name="asked")
def _asked(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests of commands, none of which is answered."""
    found: list[Request] = []

    def run(_flow: str, request: Request, *, prefect: bool) -> None:
        assert not prefect
        found.append(request)
        raise ClipAdapterError("noted")

    monkeypatch.setattr("clip_adapter.cli.pipeline.run", run)
    return found


def arguments_of(name: str) -> list[str]:
    return ["reproduce", "branch", "digits"] if name == "reproduce" else [name, "digits"]


def request_of(command: str, /, **parameters: Any) -> Request:
    study = {"study": "branch"} if command == "reproduce" else {}
    return COMMANDS[command].of(dataset="digits", **study, **parameters)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_an_option_for_every_parameter(name: str) -> None:
    options = {each for each in option_names(COMMANDS[name]).values() if each.startswith("--")}
    assert options == {option.replace("--no-", "--") for option in OPTIONS[name]}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_options_asks_for_the_defaults(
    command: Command, asked: list[Request], name: str
) -> None:
    command(*arguments_of(name))
    assert asked == [request_of(name)]


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options]
)
def test_an_option_sets_its_parameter(
    command: Command, asked: list[Request], name: str, option: str
) -> None:
    value, parameters = OPTIONS[name][option]
    command(*arguments_of(name), option, *([] if value is None else [value]))
    assert asked == [request_of(name, **parameters)]
    assert asked != [request_of(name)]


def test_paths_are_parameters_as_well(tmp_path: Path) -> None:
    assert ExtractRequest.of(root=tmp_path).root == str(tmp_path)


def test_a_flow_that_python_calls_sends_no_telemetry() -> None:
    """Nor does the private server, which inherits the environment; what a user has set stays."""
    program = "import os, flows.train_adapters; print(*map(os.environ.get, ('DO_NOT_TRACK', 'PREFECT_SERVER_ANALYTICS_ENABLED')))"
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED"}
    }
    for given, wanted in (({}, "1 false"), ({"DO_NOT_TRACK": "0"}, "0 false")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=kept | given,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == wanted.split()
