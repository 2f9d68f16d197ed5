"""Bytes in a folder of this machine that are there completely or not at all, whatever happens."""

import os
import secrets
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_cache.errors import CorruptFileError
from feature_cache.paths import Entry

_SORTS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
}


def write_atomic(path: Path, content: pa.Buffer) -> None:
    """Put `content` at `path` in one step: no reader ever sees a part of it.

    Missing folders are made. When this returns, the file and its folders survive a power cut. A
    writer that is killed leaves a hidden `.<stem>.<random>.tmp` beside it at most.

    Raises:
        OSError: The disk refused; the temporary file is gone. When only the folder could not be
            synced, the file is in its place, but a power cut may undo that.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def read(path: Path) -> pa.Buffer:
    """The bytes of a file, in memory: a map of it would end the process if the file shrank.

    Raises:
        FileNotFoundError: There is nothing.
        CorruptFileError: There is something else than a regular file; it is not opened.
    """
    with _open(path) as file:
        return file.read_buffer()


def read_end(path: Path, size_bytes: int) -> pa.Buffer:
    """The last bytes of a file, fewer where it is shorter; raises as `read`."""
    with _open(path) as file:
        file.seek(max(0, file.size() - size_bytes))
        return file.read_buffer()


def list_entries(folder: Path) -> list[Entry]:
    """What lies directly in a folder, in any order; nothing where there is no folder."""
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
    fsync_dir(to.parent)


def remove(path: Path) -> None:
    """Remove a file durably; FileNotFoundError where there is none."""
    path.unlink()
    fsync_dir(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, so that they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.is_dir()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        fsync_dir(path.parent)


def fsync_dir(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> Any:
    # A pipe would be waited for, and a link leads to what no digest in this folder stands for.
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        raise CorruptFileError(path, f"it is {_SORTS.get(stat.S_IFMT(mode), 'a device')}, no file")
    return pa.OSFile(str(path), "rb")


def _entry(found: "os.DirEntry[str]") -> Entry | None:
    try:
        status = found.stat(follow_symlinks=False)
    except FileNotFoundError:  # gone since it was listed
        return None
    return Entry(found.name, status.st_size, status.st_mtime, stat.S_ISDIR(status.st_mode))


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
