"""Options that several commands share, and the parsers of their values."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from clip_adapter.shots import ALL_SHOTS

LARGEST = 2**31 - 1  # of a column of the run store
MOST_SEEDS = 1_000  # of a range, so that a slip of the hand starts no endless training

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
Precision = Annotated[
    Literal["fp32", "bf16", "fp16"],
    typer.Option(
        "--precision",
        help="Numeric format of the encoder's forward pass; each makes its own features.",
    ),
]
Resize = Annotated[
    Literal["shortest", "longest", "squash"] | None,
    typer.Option(
        "--resize",
        help="shortest (CLIP: resize the short side, crop the centre), squash (CoOp: resize both "
        "sides) or longest (resize the long side, pad); else the model's own.",
        show_default=False,
    ),
]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        "--preprocessing",
        help="TAG of the architecture, or ARCHITECTURE:TAG, whose preprocessing a checkpoint has; "
        "needed where it is not known.",
        show_default=False,
    ),
]
Views = Annotated[
    int,
    typer.Option(
        "--views", min=0, max=9999, help="Augmented views of each image, beside the image itself."
    ),
]
AugmentationOption = Annotated[
    Literal["tip-adapter", "coop"],
    typer.Option(
        "--augmentation",
        help="What an augmented view shows: 50-100 % of the picture (tip-adapter) or 8-100 % "
        "(coop), mirrored half of the time.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def parse_names(text: str) -> list[str]:
    """Names between commas."""
    return [name.strip() for name in text.split(",")]


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Names of columns, from `OURS=THEIRS` between commas; None if there is no text.

    >>> parse_columns("path=file,label=species")
    {'path': 'file', 'label': 'species'}

    Raises:
        typer.BadParameter: the text has another form, or names a column twice.
    """
    if text is None:
        return None
    columns: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (each.strip() for each in part.partition("="))
        if not (ours and equals and theirs) or ours in columns:
            message = f"{text!r} is not of the form path=file,label=species, with each name once"
            raise typer.BadParameter(message)
        columns[ours] = theirs
    return columns


def parse_numbers(text: str, *, at_least: int = 0) -> list[int]:
    """Whole numbers between commas, none below `at_least`.

    Raises:
        typer.BadParameter: the text has another form.
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


def parse_seeds(text: str) -> list[int]:
    """Seeds between commas; 1-10 stands for all from 1 to 10.

    >>> parse_seeds("1-3,7")
    [1, 2, 3, 7]

    Raises:
        typer.BadParameter: the text has another form, or names more than MOST_SEEDS seeds.
    """
    return parse_numbers(",".join(map(_spelt_out, text.split(","))))


def _spelt_out(part: str) -> str:
    first, dash, last = (each.strip() for each in part.partition("-"))
    if not (dash and first.isdecimal() and last.isdecimal()) or len(part) > len("0-") + 2 * 10:
        return part  # no range: what is wrong with it is said of the list
    if not 0 <= int(last) - int(first) < MOST_SEEDS:
        message = f"{part!r} is not a range of seeds like 1-10, of {MOST_SEEDS} seeds at most"
        raise typer.BadParameter(message)
    return ",".join(map(str, range(int(first), int(last) + 1)))


def parse_shots(text: str) -> list[int]:
    """Numbers of labelled images a class between commas, "all" for every one.

    Raises:
        typer.BadParameter: the text has another form, or a number is 0.
    """
    numbers = [str(ALL_SHOTS) if part.strip() == "all" else part for part in text.split(",")]
    return parse_numbers(",".join(numbers), at_least=1)


def parse_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Settings of methods, from `METHOD.SETTING=VALUE` with the value in JSON or plain words.

    >>> parse_settings(["clip-adapter.residual_ratios=[0.2, 0.6]"])
    {'clip-adapter': {'residual_ratios': [0.2, 0.6]}}

    Raises:
        typer.BadParameter: a text has another form.
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
