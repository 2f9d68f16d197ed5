"""Text from files and folders, escaped for the terminal, for Markdown, for LaTeX and for file names."""

import hashlib
import re

from markupsafe import Markup

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKDOWN = re.compile(r"[\\`*_{}\[\]#!|~$^@]|(?<=www)\.|:(?=//)", re.IGNORECASE)
"""Characters with a meaning in Markdown, GitHub's bare links and mathematics included."""


def escape_control_characters(text: object, *, keep: str = "") -> str:
    r"""`text` with every character that is neither visible nor a space written as a Python escape.

    So a name cannot move a terminal's cursor, colour it, start a new line or turn the reading
    direction. Backslashes are not escaped: the result is for people, not for a parser.

    Args:
        text: any object; a lone surrogate (a file name that is not UTF-8) is allowed.
        keep: characters that are not escaped, such as "\n".

    >>> escape_control_characters("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character
        if character.isprintable() or character in keep
        else character.encode("unicode_escape").decode("ascii")
        for character in shown
    )


def escape_markdown(value: object) -> Markup:
    r"""Text that Markdown shows literally: no markup, no HTML, no link, no new line or cell.

    A `Markup` object is returned unchanged.

    >>> print(escape_markdown("a|b <b>*c*</b>"))
    a\|b &lt;b&gt;\*c\*&lt;/b&gt;
    """
    if isinstance(value, Markup):
        return value
    text = _MARKDOWN.sub(lambda found: "\\" + found[0], escape_control_characters(value))
    return Markup(re.sub("[&<>]", lambda found: _ENTITIES[found[0]], text))  # noqa: S704  # this is where text is made safe


_LATEX = {
    **{character: f"\\{character}" for character in "{}$&#_%"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{
        character: f"{{{character}}}" for character in "[]*"
    },  # arguments of a line break before them
}
_DASHES = re.compile("-(?=-)")


def escape_latex(value: object) -> str:
    r"""Text that LaTeX typesets as it is, in a table as elsewhere.

    >>> print(escape_latex("50% of_a {class} \\ & more"))
    50\% of\_a \{class\} \textbackslash{} \& more
    """
    text = "".join(_LATEX.get(each, each) for each in escape_control_characters(value))
    return _DASHES.sub("-{}", text)


def slug(text: str) -> str:
    """A file name made from `text`; different texts give different names.

    >>> slug("residual-ratio"), slug("../Böse")
    ('residual-ratio', 'b-se-adbea7f2')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:40]
    if plain and plain == text:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain or 'x'}-{digest}"
