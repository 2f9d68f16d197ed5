"""Text from files and folders, made harmless for the place where it is shown."""


def printable(text: object, *, keep: str = "") -> str:
    r"""`text` with everything that is no visible character or space written as a Python escape.

    So a name cannot move a terminal's cursor, colour it, start a new line or turn the reading
    direction. A backslash stays as it is: the result is for people, not to be parsed.

    Args:
        text: Anything with a text, lone surrogates (a file name that is not UTF-8) included.
        keep: Characters that pass as they are, as "\n".

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() or character in keep else _escape(character)
        for character in shown
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
