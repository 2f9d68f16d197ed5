"""The errors of the library: what is wrong, what was found, what was expected, what to do."""

import difflib
from collections.abc import Iterable

__all__ = ["ClipAdapterError", "UnknownNameError", "nearest"]


class ClipAdapterError(Exception):
    """Anything this library refuses to do; its message is written for the person who reads it."""


class UnknownNameError(ClipAdapterError, ValueError):
    """A name that is not in the list of names; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = sorted(known)
        close = nearest(name, choices)
        advice = (
            f"did you mean {' or '.join(repr(choice) for choice in close)}?"
            if close
            else f"choose one of: {', '.join(choices[:20])}"
        )
        super().__init__(f"unknown {kind} {name!r}: {advice}")
        self.kind, self.name, self.close = kind, name, close


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names most like `name`, best first, compared without case.

    >>> nearest("eurosta", ["digits", "eurosat"])
    ['eurosat']
    """
    by_folded = {choice.casefold(): choice for choice in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    return [by_folded[folded] for folded in close]
