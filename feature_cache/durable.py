"""Bytes that are on disk completely or not at all, whatever happens to the writer."""

import os
import secrets
from pathlib import Path

import pyarrow as pa

__all__ = ["make_folder", "place", "sync_folder"]


def place(path: Path, content: pa.Buffer) -> None:
    """Put `content` at `path` in one step: no reader ever sees a part of it.

    A writer that is killed leaves a hidden `.<stem>.<random>.tmp` beside it at most. The entry in
    the folder is durable only after `sync_folder`.

    Raises:
        OSError: The disk refused; the temporary file is gone.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_synced(path: Path, content: pa.Buffer) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            # The system may take less than it is given, 2 GiB at most.
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
