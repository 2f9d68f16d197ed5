"""Errors of imports and exports."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_cache.errors import FeatureCacheError


class InvalidImportError(FeatureCacheError, ValueError):
    """Features that cannot be imported: damaged, oversized, pickled or contradictory.

    Attributes:
        source: file or folder; or the name of features, where no file is to blame.
        reason: what is wrong, what was expected and what to do.
    """

    def __init__(self, source: Path | str, reason: str) -> None:
        super().__init__(source, reason)
        self.source, self.reason = source, reason

    def __str__(self) -> str:
        if isinstance(self.source, Path):
            return f"{self.source} cannot be imported: {self.reason}"
        return f"features {self.source!r} cannot be used: {self.reason}"


@contextmanager
def errors_about(path: Path, name: str = "it") -> Iterator[None]:
    """Raise an InvalidImportError about `path` for every failure to read it inside the block.

    Other errors of the feature cache pass: they name their file already.

    Args:
        path: the file or folder.
        name: the part of it that is read, for the message.

    Raises:
        InvalidImportError: the file is missing or malformed, or its content is invalid.
    """
    try:
        yield
    except InvalidImportError as error:
        if isinstance(error.source, Path):
            raise
        raise InvalidImportError(path, error.reason) from error
    except FeatureCacheError:
        raise
    except FileNotFoundError as error:
        reason = f"{error.filename or path} is not there: check it"
        raise InvalidImportError(path, reason) from error
    except Exception as error:  # malformed bytes make libraries raise errors of any class
        reason = f"{name} cannot be read ({type(error).__name__}: {error!s:.300})"
        advice = "copy or write it anew"
        if isinstance(error, MemoryError):
            advice = "close other programs, or divide it"
        elif isinstance(error, PermissionError):
            advice = "change its permissions"
        raise InvalidImportError(path, f"{reason}: {advice}") from error


def check_file(path: Path, *, max_bytes: int | None = None) -> None:
    """Check that a path is a regular file of at most `max_bytes`.

    Raises:
        InvalidImportError: it is missing, no regular file, or larger.
    """
    if not path.is_file():
        raise InvalidImportError(path, "it is not there, or no regular file: check the path")
    size = path.stat().st_size
    if max_bytes is not None and size > max_bytes:
        raise InvalidImportError(
            path,
            f"it has {size:,} bytes, at most {max_bytes:,} are taken: divide it, or import it on a "
            "machine with more memory",
        )
