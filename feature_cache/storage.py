"""File operations of a store, in a folder of this machine or in an object store.

Stored files are immutable and content-addressed: a file is named by the SHA-256 digest of its
content. So a damaged file contradicts its name, and two writers of the same content write the same
file.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_cache import local_fs, object_store
from feature_cache.errors import CorruptFileError
from feature_cache.paths import Entry, Location

_DIGEST = re.compile(r"[0-9a-f]{64}")


def write_atomic(path: Location, content: pa.Buffer, *, what: str = "") -> None:
    """Write a file in one step and durably.

    Args:
        path: the file.
        content: the bytes of the file.
        what: name of the content in messages; the name of the file if empty.

    Raises:
        OSError: the disk or the object store refused; no part of the file is left behind.
    """
    _backend(path).write_atomic(path, content, what=what)


def read(path: Location) -> pa.Buffer:
    """Read a file into memory.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptFileError: the path is a folder, a pipe or a link.
    """
    return _backend(path).read(path)


def read_end(path: Location, size_bytes: int) -> pa.Buffer:
    """Read at most the last `size_bytes` bytes of a file.

    Raises:
        FileNotFoundError: the file does not exist.
        CorruptFileError: the path is a folder, a pipe or a link.
    """
    return _backend(path).read_end(path, size_bytes)


def list_entries(folder: Location) -> list[Entry]:
    """List what is directly in a folder, sorted by name; empty if the folder does not exist."""
    return sorted(_backend(folder).list_entries(folder), key=lambda entry: entry.name)


def list_folders(folder: Location) -> list[str]:
    """List the names of the folders in a folder, sorted; empty if the folder does not exist."""
    return sorted(_backend(folder).list_folders(folder))


def is_folder(folder: Location) -> bool:
    """Return whether the folder exists, or a prefix with objects below it."""
    return bool(_backend(folder).is_folder(folder))


def rename(path: Location, name: str) -> None:
    """Give a file another name in its folder.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    _backend(path).rename(path, path.parent / name)


def remove(path: Location) -> None:
    """Remove a file.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    _backend(path).remove(path)


def remove_empty_folder(folder: Location) -> None:
    """Remove a folder if nothing is in it; object stores have no empty folders."""
    if isinstance(folder, Path):
        local_fs.remove_empty_folder(folder)


def fsync_dir(folder: Location) -> None:
    """Make the names in a folder survive a power cut, those of other writers included."""
    if isinstance(folder, Path):
        local_fs.fsync_dir(folder)


def is_digest_name(name: str, suffix: str) -> bool:
    """Return whether a file name is a digest with this suffix, so that the file is complete."""
    return name.endswith(suffix) and _DIGEST.fullmatch(name.removesuffix(suffix)) is not None


def write_addressed(
    folder: Location, content: pa.Buffer, suffix: str, *, what: str = ""
) -> Location:
    """Write `<folder>/<sha256><suffix>` in one step and durably; a damaged copy is replaced.

    Args:
        folder: folder of the file.
        content: the bytes of the file.
        suffix: last part of its name.
        what: name of the content in messages; the name of the file if empty.

    Raises:
        OSError: the disk or the object store refused; no part of the file is left behind.
    """
    path = folder / f"{_digest(content)}{suffix}"
    if is_intact(path, path.stem):
        fsync_dir(folder)  # another writer may not have done that yet
    else:
        write_atomic(path, content, what=what)
    return path


def read_verified(path: Location) -> pa.Buffer:
    """Read a file into memory and compare the digest of its content with its name.

    Raises:
        CorruptFileError: they differ, or the path is a folder, a pipe or a link.
        FileNotFoundError: the file does not exist.
    """
    content = read(path)
    found = _digest(content)
    if found != path.stem:
        raise CorruptFileError(path, f"its content has the SHA-256 digest {found}, not its name")
    return content


def verify_file(path: Location) -> None:
    """Compare the digest of a file's content with its name.

    Raises:
        CorruptFileError: they differ, or the path is a folder, a pipe or a link.
        FileNotFoundError: the file does not exist.
    """
    read_verified(path)


def is_intact(path: Location, digest: str) -> bool:
    """Return whether a regular file exists whose content has this digest."""
    try:
        return _digest(read(path)) == digest
    except (FileNotFoundError, CorruptFileError):
        return False


def is_content(name: str) -> bool:
    """Return whether a file of this name was written by `write_content` and is complete."""
    return is_digest_name(name, ".safetensors")


def write_content(folder: Location, content: bytes) -> Location:
    """Write bytes as `<folder>/<sha256>.safetensors`, in one step and durably.

    The same bytes are the same file; a damaged one is replaced.

    Raises:
        OSError: the disk or the object store refused; no part of the file is left behind.
    """
    return write_addressed(folder, pa.py_buffer(content), ".safetensors")


def read_content(path: Location) -> bytes:
    """Read the bytes that `write_content` wrote, verified against the file's name.

    Raises:
        CorruptFileError: the digest of the content is not the file's name.
        FileNotFoundError: the file does not exist.
    """
    content: bytes = read_verified(path).to_pybytes()
    return content


def _backend(path: Location) -> Any:
    """Module with the operations for this type of path."""
    return local_fs if isinstance(path, Path) else object_store


def _digest(content: pa.Buffer) -> str:
    return hashlib.sha256(content).hexdigest()
