"""Names from data, made harmless in Markdown and in file names."""

import hashlib
import re

from markupsafe import Markup

from clip_adapter.printable import printable

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*_{}\[\]#!|~$^@]|(?<=www)\.|:(?=//)", re.IGNORECASE)
"""What Markdown reads as more than itself, GitHub's bare links and mathematics included."""


def inert(value: object) -> Markup:
    r"""Text that Markdown shows as it is: no markup, no HTML, no link, no new line or cell.

    What is `Markup` already stays as it is.

    >>> print(inert("a|b <b>*c*</b>"))
    a\|b &lt;b&gt;\*c\*&lt;/b&gt;
    """
    if isinstance(value, Markup):
        return value
    text = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], _escaped(printable(value)))
    return Markup(text)  # noqa: S704  # this is where text is made safe


def slug(text: str) -> str:
    """A file name that says what it is about, the same for the same text only.

    >>> slug("residual-ratio"), slug("../Böse")
    ('residual-ratio', 'b-se-adbea7f2')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:40]
    if plain and plain == text:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain or 'x'}-{digest}"


def _escaped(text: str) -> str:
    return _MARKS.sub(lambda found: "\\" + found[0], text)
