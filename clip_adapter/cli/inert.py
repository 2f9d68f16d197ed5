"""Text that others wrote, shown to a person without obeying it."""

__all__ = ["inert"]


def inert(text: object) -> str:
    r"""The text with control characters spelled out: a name cannot colour or clear a terminal.

    >>> inert("model\x1b[2J")
    'model\\x1b[2J'
    """
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in str(text)
    )
