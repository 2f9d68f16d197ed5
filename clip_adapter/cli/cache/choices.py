"""What a person says about a file that is imported, read from the command line."""

from pathlib import Path

import typer

from clip_adapter.printable import printable

USUAL_TEMPLATE = "a photo of a {}."


def parse_names(texts: list[str]) -> dict[str, str | None]:
    """Names by role, from `ROLE=NAME`; nothing after the sign leaves the role unread.

    >>> parse_names(["features=x", "val="])
    {'features': 'x', 'val': None}

    Raises:
        typer.BadParameter: Text of another form.
    """
    names: dict[str, str | None] = {}
    for text in texts:
        role, sign, name = text.partition("=")
        if not (role and sign):
            raise typer.BadParameter(f"{text!r} is not of the form ROLE=NAME, as features=x")
        names[role] = name or None
    return names


def check_templates(templates: list[str] | None, *, text_model: str | None) -> list[str]:
    """The prompts to encode, or the usual one.

    Raises:
        typer.BadParameter: One without exactly one `{}`, one twice, or nothing to encode it.
    """
    if templates and text_model is None:
        raise typer.BadParameter("--template is for --text-model, which encodes it: name one")
    for template in templates or []:
        if template.count("{}") != 1:
            raise typer.BadParameter(
                f"--template {template!r}: expected one {{}} where the class name goes"
            )
    return list(dict.fromkeys(templates or [USUAL_TEMPLATE]))


def read_class_names(path: Path | None) -> tuple[str, ...] | None:
    """A class a line, in UTF-8.

    Raises:
        typer.BadParameter: The file is not text, or not there.
    """
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--class-names {path}: {printable(error)}") from None
    return tuple(text.removesuffix("\n").split("\n"))
