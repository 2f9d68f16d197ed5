"""The errors of the feature cache: what is wrong, what was found, what to do.

Every error survives pickling, because worker processes hand them to each other: what is given to
the constructor stays in `args`, and the message is put together when it is asked for.
"""

from feature_cache.paths import Location


class FeatureCacheError(Exception):
    """Anything the feature cache refuses to do; the message is for the person who reads it."""


class CorruptFileError(FeatureCacheError, ValueError):
    """A file at rest is not what was once written: truncated, altered or not one of ours.

    Attributes:
        path: The damaged file.
        reason: What gave it away.
    """

    def __init__(self, path: Location, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return (
            f"{self.path} is damaged: {self.reason}. "
            "Delete the file: its rows count as missing and the next run makes them again"
        )


class NewerFormatError(FeatureCacheError, ValueError):
    """A file was written by a later version of the format than this program knows.

    Attributes:
        path: The file.
        found: The version it was written in.
        known: The newest version this program reads.
        versions: Both in words, with the versions of the programs as far as they are known.
    """

    def __init__(self, path: Location, found: int, known: int, *, versions: str = "") -> None:
        super().__init__(path, found, known)
        self.path, self.found, self.known = path, found, known
        self.versions = versions

    def __str__(self) -> str:
        versions = self.versions or (
            f"written in format {self.found}, this program reads up to format {self.known}"
        )
        return f"{self.path} is {versions}: upgrade clip-adapter to read it"


class WrongKindError(FeatureCacheError, ValueError):
    """A file holds another kind of rows than its folder is for.

    Attributes:
        path: The file.
        found: The kind it declares, empty when it declares none.
        expected: The kind that was asked for.
    """

    def __init__(self, path: Location, found: str, expected: str) -> None:
        super().__init__(path, found, expected)
        self.path, self.found, self.expected = path, found, expected

    def __str__(self) -> str:
        declared = f"{self.found!r} rows" if self.found else "rows of no declared kind"
        return (
            f"{self.path} holds {declared} where {self.expected!r} rows were expected: "
            "move the file back to the folder it came from"
        )


class WrongOwnerError(FeatureCacheError, ValueError):
    """A file lies in the folder of another encoder or dataset than the one it was written for.

    Attributes:
        path: The file.
        found: Whose it says it is.
        expected: Whose folder it lies in.
    """

    def __init__(self, path: Location, found: str, expected: str) -> None:
        super().__init__(path, found, expected)
        self.path, self.found, self.expected = path, found, expected

    def __str__(self) -> str:
        return (
            f"{self.path} belongs to {self.found[:12]!r} and lies in the folder of "
            f"{self.expected[:12]!r}: move the file back to the folder it came from"
        )


class WrongSchemaError(FeatureCacheError, ValueError):
    """A table has not the columns, or not the column types, that it must have.

    Of a stored file the message names the file, the column, and the versions of writer and reader.
    """


class EmptyTableError(FeatureCacheError, ValueError):
    """A table without rows was given to be written: there is nothing to say."""


class UnsafeNameError(FeatureCacheError, ValueError):
    """An encoder or dataset name that may not become the name of a folder."""


class InvalidKeyError(FeatureCacheError, ValueError):
    """An image digest, view or prompt that cannot identify a feature."""


class InvalidFeaturesError(FeatureCacheError, ValueError):
    """Features that cannot be stored: wrong dimensions, number of rows or element type."""


class WrongWidthError(InvalidFeaturesError):
    """Features of another width than the store holds."""


class WrongPrecisionError(InvalidFeaturesError):
    """Features of another element type than the store holds."""


class NonFiniteFeaturesError(InvalidFeaturesError):
    """Features that contain infinity or NaN."""


class MissingFeaturesError(FeatureCacheError, KeyError):
    """Features were asked for that no file holds.

    Attributes:
        n_missing: How many of the distinct keys are missing.
        n_wanted: How many distinct keys were asked for.
        encoder: The fingerprint of the encoder they were asked of.
    """

    def __init__(self, n_missing: int, n_wanted: int, encoder: str) -> None:
        super().__init__(n_missing, n_wanted, encoder)
        self.n_missing, self.n_wanted, self.encoder = n_missing, n_wanted, encoder

    def __str__(self) -> str:
        return (
            f"{self.n_missing} of {self.n_wanted} features are missing for encoder "
            f"{self.encoder[:12]}: extract them before reading"
        )


class InvalidRootError(FeatureCacheError, ValueError):
    """A root that names no folder and no place in an object store."""


class ObjectStoreError(FeatureCacheError, OSError):
    """An object store that does not answer, or refuses."""


class MissingIndexError(FeatureCacheError, LookupError):
    """A dataset index was asked for that no file holds."""


class InvalidIndexError(FeatureCacheError, ValueError):
    """A dataset index that contradicts itself, so it is not written."""
