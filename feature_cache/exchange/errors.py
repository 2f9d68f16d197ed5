"""What can be wrong with features from elsewhere, and with writing ours for elsewhere."""

from pathlib import Path

from feature_cache.errors import FeatureCacheError


class InvalidForeignFeaturesError(FeatureCacheError, ValueError):
    """Arrays that do not make up labelled features: shapes, types, lengths or values.

    Attributes:
        source: What the features were called.
        reason: What is wrong, what was expected and what to do.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        return f"features {self.source!r} cannot be used: {self.reason}"


class ForeignFileError(FeatureCacheError, ValueError):
    """A file that cannot be imported: damaged, of another format, or contradicting itself.

    Attributes:
        path: The file or folder.
        reason: What is wrong, what was expected and what to do.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path} cannot be imported: {self.reason}"


class PickledArrayError(ForeignFileError):
    """An array of Python objects: reading it would run whatever code the file carries."""


class OversizedFileError(ForeignFileError):
    """A file declares more bytes than the reader was allowed to take into memory."""


class MissingArrayError(ForeignFileError, LookupError):
    """An array or a column that is needed, or was asked for by name, is not there."""


class ExistingExportError(FeatureCacheError, FileExistsError):
    """Something lies where an export is to be written, and it was not said to replace it."""


class ExportChoiceError(FeatureCacheError, ValueError):
    """A file name that does not say in which format to write."""


class ImportConflictError(FeatureCacheError, ValueError):
    """Features that contradict what was imported before under the same name or label."""


class UnknownImportError(FeatureCacheError, LookupError):
    """Nothing was imported under a name."""


class IncompleteImportError(FeatureCacheError, LookupError):
    """Part of what was imported is no longer in the store."""
