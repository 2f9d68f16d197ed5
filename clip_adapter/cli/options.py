"""Options that several commands share, and how their text is read."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "Data",
    "Dataset",
    "Device",
    "Images",
    "Json",
    "MaxBad",
    "Model",
    "Root",
    "parse_numbers",
    "parse_settings",
]

LARGEST = 2**31 - 1  # what a column of the run store holds

Root = Annotated[
    str | None,
    typer.Option(
        "--root",
        metavar="FOLDER|URL",
        help="Where everything is written, a folder or s3://bucket/prefix; else CLIP_ADAPTER_ROOT, "
        "else ./clip-adapter-store.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of dataset folders; else CLIP_ADAPTER_DATA, else ROOT/images.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option("--images", help="Folder of this dataset, instead of one in --data."),
]
Dataset = Annotated[
    str, typer.Argument(help="digits, eurosat or imagefolder:PATH; see `clip-adapter datasets`.")
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="glyphs, ARCHITECTURE:TAG (ViT-B-32-quickgelu:openai), ARCHITECTURE:CHECKPOINT, "
        "hf-hub:ORG/REPO or local-dir:FOLDER.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
MaxBad = Annotated[
    float,
    typer.Option(
        "--max-bad-fraction", min=0, max=1, help="Fail if more files than this are unreadable."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def parse_numbers(text: str, *, at_least: int = 0) -> list[int]:
    """Whole numbers between commas, none below `at_least`.

    Raises:
        typer.BadParameter: for anything else.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        message = f"{text!r} is not a list of whole numbers like 1,2,4"
        raise typer.BadParameter(message) from None
    if max(numbers) > LARGEST:
        message = f"{max(numbers)} is too large; expected numbers up to {LARGEST}"
        raise typer.BadParameter(message)
    if min(numbers) < at_least:
        message = f"{min(numbers)} is too small; expected numbers of {at_least} or more"
        raise typer.BadParameter(message)
    return numbers


def parse_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Settings of methods, from `METHOD.SETTING=VALUE` with the value in JSON or plain words.

    >>> parse_settings(["clip-adapter.residual_ratios=[0.2, 0.6]"])
    {'clip-adapter': {'residual_ratios': [0.2, 0.6]}}

    Raises:
        typer.BadParameter: for a text of another form.
    """
    settings: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        method, dot, name = path.partition(".")
        if not (equals and dot and method and name):
            message = f"{text!r} is not of the form METHOD.SETTING=VALUE"
            raise typer.BadParameter(message)
        settings.setdefault(method, {})[name] = _value(value)
    return settings


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
