"""Checks that a root can be written to, before any work is done."""

import os
import tempfile
from pathlib import Path

from clip_adapter.errors import ClipAdapterError
from clip_adapter.settings import DEFAULT_ROOT


class UnwritableRootError(ClipAdapterError, PermissionError):
    """Nothing can be written below the root."""


def check_writable(root: Path, *, below: str = "") -> None:
    """Raise if nothing can be written to a folder; the folder is created if it is missing.

    Args:
        root: folder of the store.
        below: folder below the root to check instead of the root itself.

    Raises:
        UnwritableRootError: the folder cannot be written to; the message says why and what to do.
    """
    folder = root / below
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnwritableRootError(
            f"nothing can be written below the root {root}: {_found(folder, error)}; expected a "
            f"folder of yours, or a place where one can be made: {_advice(root)}"
        ) from None


def _found(folder: Path, error: OSError) -> str:
    # Not Path.exists, which raises in a folder that may not be searched.
    nearest = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        return f"{nearest} is no folder"
    return f"{nearest} is there, but takes nothing new ({error.strerror})"


def _advice(root: Path) -> str:
    named = "name another with --root or CLIP_ADAPTER_ROOT"
    if root == Path(DEFAULT_ROOT).resolve():
        return f"work in another folder, or {named}"
    return f"{named}, or make that one writable"
