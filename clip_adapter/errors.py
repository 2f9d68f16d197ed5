"""The errors that several packages raise or catch; messages say what was found and what to do."""

import difflib
from collections.abc import Iterable


class ClipAdapterError(Exception):
    """Base class of the errors of this library; the message says what to do."""


class SettingsError(ClipAdapterError, ValueError):
    """A method or adapter that cannot be made, or does not converge, with the given settings."""


class DataError(ClipAdapterError, ValueError):
    """Arrays that cannot be used: of a task, logits, features, or of a classifier's file."""


class UnknownNameError(ClipAdapterError, ValueError):
    """A name that is not in the list of names; the message suggests the nearest ones.

    Attributes:
        kind: kind of thing that is named, as "dataset".
        name: name that was given.
        close: known names most like it, best first.
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


class ParameterError(ClipAdapterError, ValueError):
    """A parameter or an environment variable that is missing or has an invalid value."""


class UnavailableError(ClipAdapterError, RuntimeError):
    """A device, package, folder or service that this machine or installation does not provide."""


class EncoderError(ClipAdapterError, RuntimeError):
    """An encoder that cannot be loaded or used as requested."""


class NoNetworkError(EncoderError, ConnectionError):
    """Weights that have to be downloaded from a host that does not answer."""

    def __new__(cls, *args: object) -> "NoNetworkError":  # noqa: PYI034  # beartype knows no Self here
        """Create it as an OSError, which unpickling requires and RuntimeError does not do."""
        return OSError.__new__(cls, *args)


class ImageError(ClipAdapterError, ValueError):
    """An image file or a view of it that cannot be used.

    Attributes:
        changed_file: path of a file that is not the one that was indexed; None for other errors.
    """

    def __init__(self, message: str, *, changed_file: str | None = None) -> None:
        super().__init__(message)
        self.changed_file = changed_file


class UnreadableImageError(ImageError):
    """A file that is not a usable image.

    Attributes:
        reason: reason without the name of the file.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DatasetError(ClipAdapterError, ValueError):
    """A dataset that cannot be used; the message says what to change."""


# Messages of torch's allocators on the CPU (POSIX, Windows), on CUDA and on MPS.
_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python, numpy, pyarrow or torch says that memory ran out, also a GPU's.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    return isinstance(error, RuntimeError) and any(
        sign in str(error).lower() for sign in _OUT_OF_MEMORY
    )


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
