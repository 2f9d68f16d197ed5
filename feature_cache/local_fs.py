"""Durable file operations in folders of this machine: a file is complete or absent."""

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_cache.errors import CorruptFileError
from feature_cache.paths import Entry

_FILE_TYPES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFSOCK: "a socket",
}

_ADVICE = {
    errno.ENOSPC: "free space on that disk (`clip-adapter cache stats` lists what takes it, and what may go)",
    errno.EDQUOT: "remove files of yours there, whose quota is used up",
    errno.EROFS: "have that file system mounted to be written to",
}
"""What to do about the errors of a disk that takes nothing more."""


def write_atomic(path: Path, content: pa.Buffer, *, what: str = "") -> None:
    """Write a file in one step, so that no reader sees a part of it.

    Missing folders are made. When this returns, the file and its folders survive a power cut. A
    writer that is killed leaves at most a hidden file `.<stem>.<random>.tmp` in the folder.

    Args:
        path: the file.
        content: the bytes of the file.
        what: name of the content in messages; the name of the file if empty.

    Raises:
        OSError: the file could not be written, and the temporary file is removed. If only the sync
            of the folder failed, the file exists, but a power cut may undo that. On a disk that
            takes nothing more, the message says what is safe and what to do.
    """
    with full_disk_explained(path.parent, f"{what or path.name} ({content.size / 1e6:.1f} MB)"):
        make_folder(path.parent)
        temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.tmp")
        try:
            _write_synced(temporary, content)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync_dir(path.parent)


@contextmanager
def full_disk_explained(folder: Path, what: str) -> Iterator[None]:
    """Say what is safe and what to do in the error of a disk that takes nothing more.

    Args:
        folder: folder that is written to.
        what: name of what is written there, for the message.

    Raises:
        OSError: the one that the block raised; its message differs where the disk is full, the
            user's quota is used up, or the file system is read-only.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        message = (
            f"{os.strerror(error.errno)}: {what} could not be written to {folder}. Everything that "
            f"was stored before is complete and unchanged: {_ADVICE[error.errno]}, or choose "
            "another folder, and run the same again; what is stored is not made again"
        )
        raise OSError(error.errno, message) from error


def read(path: Path) -> pa.Buffer:
    """Read a file into memory; a memory map would crash the process if the file shrank.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptFileError: the path is not a regular file; it is not opened.
    """
    with _open(path) as file:
        return file.read_buffer()


def read_end(path: Path, size_bytes: int) -> pa.Buffer:
    """Read at most the last `size_bytes` bytes of a file.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptFileError: the path is not a regular file; it is not opened.
    """
    with _open(path) as file:
        file.seek(max(0, file.size() - size_bytes))
        return file.read_buffer()


def list_entries(folder: Path) -> list[Entry]:
    """List the files and folders in a folder, in any order; empty if the folder does not exist.

    A pass over a large folder may miss a file that is renamed into it meanwhile, and then a file that is
    removed because the new one has its rows. So it is listed until nothing has gone since the time before.
    """
    before, found = _scan(folder), _scan(folder)
    while not found.keys() >= {name for name in before if not name.startswith(".")}:
        before, found = found, _scan(folder)
    return list(found.values())


def _scan(folder: Path) -> dict[str, Entry]:
    try:
        with os.scandir(folder) as entries:
            found = [_entry(each) for each in entries]
    except FileNotFoundError:
        return {}
    return {entry.name: entry for entry in found if entry is not None}


def list_folders(folder: Path) -> list[str]:
    """List the names of the folders in a folder; empty if the folder does not exist."""
    if not folder.is_dir():
        return []
    return [entry.name for entry in folder.iterdir() if entry.is_dir()]


def is_folder(folder: Path) -> bool:
    """Return whether the folder exists."""
    return folder.is_dir()


def rename(path: Path, to: Path) -> None:
    """Rename a file durably.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    path.replace(to)
    fsync_dir(to.parent)


def remove(path: Path) -> None:
    """Remove a file durably.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    path.unlink()
    fsync_dir(path.parent)


def remove_empty_folder(folder: Path) -> None:
    """Remove a folder durably if it exists and nothing is in it."""
    with suppress(OSError):  # it is gone, or another process has written to it
        folder.rmdir()
        fsync_dir(folder.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents durably."""
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
    # Opening a pipe would block, and a link leads to a file with another name than its digest.
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode):
        found = _FILE_TYPES.get(stat.S_IFMT(mode), "a device")
        raise CorruptFileError(path, f"it is {found}, no file")
    return pa.OSFile(str(path), "rb")


def _entry(found: "os.DirEntry[str]") -> Entry | None:
    try:
        status = found.stat(follow_symlinks=False)
    except FileNotFoundError:  # removed after it was listed
        return None
    return Entry(found.name, status.st_size, status.st_mtime, stat.S_ISDIR(status.st_mode))


def _write_synced(path: Path, content: pa.Buffer) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        rest = memoryview(content)
        while rest:
            # write() may write less than it was given, 2 GiB at most.
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
