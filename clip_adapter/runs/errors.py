"""What can go wrong when runs are recorded or asked about."""

from clip_adapter.errors import ClipAdapterError
from feature_cache import Location

__all__ = [
    "AmbiguousRunsError",
    "IncomparableRunsError",
    "InvalidRecordError",
    "MissingRootError",
    "QueryError",
]


class AmbiguousRunsError(ClipAdapterError, LookupError):
    """Runs of several settings or encoders answer to a name."""


class IncomparableRunsError(ClipAdapterError, ValueError):
    """Two runs that did not do the same thing, so that no difference can be told from them."""


class InvalidRecordError(ClipAdapterError, ValueError):
    """A run that contradicts itself, so nothing of it is written."""


class QueryError(ClipAdapterError, ValueError):
    """A question that cannot be answered: not a question, misspelt, or stopped."""


class MissingRootError(ClipAdapterError, FileNotFoundError):
    """There is no store where one was expected.

    Attributes:
        root: The folder that was looked for.
    """

    def __init__(self, root: Location) -> None:
        super().__init__(root)
        self.root = root

    def __str__(self) -> str:
        """Name the folder and the way to a store."""
        return f"no store at {self.root}: run `clip-adapter demo` or pass --root"
