"""The errors of the library: what is wrong, what was found, what was expected, what to do."""

import difflib
from collections.abc import Iterable


class ClipAdapterError(Exception):
    """Anything this library refuses to do; its message is written for the person who reads it."""


class SettingsError(ClipAdapterError, ValueError):
    """A method or adapter that cannot be made with the given settings, or a class that is no method."""


class DataError(ClipAdapterError, ValueError):
    """Arrays that cannot be used: of a task, logits, features, or of a classifier's file."""


class UnknownNameError(ClipAdapterError, ValueError):
    """A name that is not in the list of names; the message suggests the nearest ones.

    Attributes:
        kind: What it should name, as "dataset".
        name: The name that was given.
        close: The known names most like it, best first.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        choices = list(known)
        # What the constructor was given stays in `args`: so the error survives pickling.
        super().__init__(kind, name, choices)
        self.kind, self.name, self.close = kind, name, nearest(name, choices)

    def __str__(self) -> str:
        """Suggest the nearest names, or list what there is."""
        choices: list[str] = self.args[2]
        return f"unknown {self.kind} {self.name!r}: {self._advice(choices)}"

    def _advice(self, choices: list[str]) -> str:
        if self.close:
            return f"did you mean {' or '.join(repr(choice) for choice in self.close)}?"
        if not choices:
            return "there is none yet"
        return f"choose one of: {', '.join(choices[:12])}{_more(len(choices) - 12)}"


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def nearest(name: str, known: Iterable[str], *, count: int = 3) -> list[str]:
    """The known names most like `name`, best first, compared without case.

    >>> nearest("eurosta", ["digits", "eurosat"])
    ['eurosat']
    """
    by_folded = {choice.casefold(): choice for choice in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    return [by_folded[folded] for folded in close]
