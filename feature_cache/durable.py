"""Bytes in a folder of this machine that are there completely or not at all, whatever happens."""

import os
import secrets
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_cache.listing import Entry

__all__ = [
    "is_folder",
    "list_entries",
    "list_folders",
    "make_folder",
    "move",
    "open_file",
    "place",
    "read",
    "remove",
    "sync_folder",
]


def place(path: Path, content: pa.Buffer) -> None:
    """Put `content` at `path` in one step: no reader ever sees a part of it.

    Missing folders are made. When this returns, the file and its folders survive a power cut. A
    writer that is killed leaves a hidden `.<stem>.<random>.tmp` beside it at most.

    Raises:
        OSError: The disk refused; the temporary file is gone.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read(path: Path) -> pa.Buffer:
    """The bytes of a file, in memory: a map of it would end the process if the file shrank."""
    with open_file(path) as file:
        return file.read_buffer()


def open_file(path: Path) -> Any:
    """A file opened for reading parts of it; FileNotFoundError where there is none."""
    return pa.OSFile(str(path), "rb")


def list_entries(folder: Path) -> list[Entry]:
    """The files directly in a folder, in any order; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            found = [_entry(each) for each in entries]
    except FileNotFoundError:
        return []
    return [entry for entry in found if entry is not None]


def list_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder; none where there is no folder."""
    if not folder.is_dir():
        return []
    return [entry.name for entry in folder.iterdir() if entry.is_dir()]


def is_folder(folder: Path) -> bool:
    """Whether there is a folder."""
    return folder.is_dir()


def move(path: Path, to: Path) -> None:
    """Rename a file durably; FileNotFoundError where there is none."""
    path.replace(to)
    sync_folder(to.parent)


def remove(path: Path) -> None:
    """Remove a file durably; FileNotFoundError where there is none."""
    path.unlink()
    sync_folder(path.parent)


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


def _entry(found: "os.DirEntry[str]") -> Entry | None:
    try:
        if not found.is_file(follow_symlinks=False):
            return None
        status = found.stat(follow_symlinks=False)
    except FileNotFoundError:  # gone since it was listed
        return None
    return Entry(found.name, status.st_size, status.st_mtime)


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
