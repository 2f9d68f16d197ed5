"""Errors of the feature cache: what is wrong, what was found, what to do.

Every error survives pickling, because worker processes pass errors on to each other.
"""

from typing import Any


class FeatureCacheError(Exception):
    """Base class of the errors of the feature cache; the message says what to do."""


class CorruptFileError(FeatureCacheError, ValueError):
    """A stored file is not what was written: truncated, altered, or no file of a store.

    Attributes:
        path: path of the damaged file, a `Location`.
        reason: evidence of the damage.
    """

    def __init__(
        self, path: Any, reason: str
    ) -> None:  # of paths.py, which raises errors of this file
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path} is damaged: {self.reason}. "
            "Delete the file: its rows count as missing and the next run makes them again"
        )


class NewerFormatError(FeatureCacheError, ValueError):
    """A file was written in a later version of the format than this program reads."""


class MisplacedFileError(FeatureCacheError, ValueError):
    """A file is in a folder for other rows: of another kind, encoder or dataset."""


class WrongSchemaError(FeatureCacheError, ValueError):
    """A table lacks a column that it must have, or has it with another type.

    If the table is a stored file, the message names the file, the column, and the versions of the
    programs that wrote and read it.
    """


class InvalidInputError(FeatureCacheError, ValueError):
    """A value that cannot be stored or exported: features, keys, an index, a table, a name or a path."""


class NotStoredError(FeatureCacheError, KeyError):
    """Features, a dataset index or an import were requested that no file holds."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # KeyError shows the repr


class ObjectStoreError(FeatureCacheError, OSError):
    """An object store does not answer, or refuses a request."""


FILE_ERRORS = (CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError)
"""Errors about one stored file, for which a handler decides whether to continue without it."""
