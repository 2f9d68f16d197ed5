"""Files and folders of exports, written completely or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from feature_cache.errors import InvalidInputError
from feature_cache.local_fs import fsync_dir, full_disk_explained, make_folder, write_atomic


def check_absent(path: Path, *, overwrite: bool) -> None:
    """Check that nothing exists at `path`, unless it may be replaced.

    Raises:
        InvalidInputError: a file, folder or link exists.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InvalidInputError(f"{path} is no regular file: choose another name")
    if not overwrite and (path.exists() or path.is_symlink()):
        raise InvalidInputError(
            f"{path} exists: choose another name, or allow to overwrite it (--overwrite)"
        )


def write_file(path: Path, content: bytes | memoryview, *, overwrite: bool) -> Path:
    """Write a file atomically and durably, and return its path.

    Raises:
        InvalidInputError: the file exists, or a folder of that name.
        OSError: the disk is full or fails; nothing is left behind.
    """
    check_absent(path, overwrite=overwrite and (path.is_file() or not path.exists()))
    write_atomic(path, pa.py_buffer(content))
    return path


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Yield a temporary file, open for writing, that becomes `path` when the block succeeds.

    Raises:
        InvalidInputError: the file exists, or a folder of that name.
        OSError: the disk is full or fails; nothing is left behind.
    """
    with new_path(path, overwrite=overwrite) as temporary, temporary.open("xb") as file:
        yield file


@contextmanager
def new_path(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the name of a temporary file, for the block to write, that becomes `path` when it succeeds.

    What stands beside it under its name and a suffix, as the `.wal` of a database, is removed.

    Raises:
        InvalidInputError: the file exists, or a folder of that name.
        OSError: the disk is full or fails; nothing is left behind.
    """
    check_absent(path, overwrite=overwrite and (path.is_file() or not path.exists()))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with full_disk_explained(path.parent, f"the file {path.name}"):
        make_folder(path.parent)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
            fsync_dir(path.parent)
        finally:
            for left in (temporary, temporary.with_name(f"{temporary.name}.wal")):
                left.unlink(missing_ok=True)


@contextmanager
def new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block succeeds.

    A writer that is killed while it replaces a folder leaves the old one as `.<name>.<random>.old`.

    Raises:
        InvalidInputError: `folder` exists.
    """
    check_absent(folder, overwrite=overwrite)
    token = secrets.token_hex(8)
    temporary = folder.with_name(f".{folder.name}.{token}.tmp")
    with full_disk_explained(folder.parent, f"the folder {folder.name}"):
        make_folder(folder.parent)
        temporary.mkdir()
        try:
            yield temporary
            fsync_dir(temporary)
            _replace_folder(temporary, folder, old=folder.with_name(f".{folder.name}.{token}.old"))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _replace_folder(temporary: Path, folder: Path, *, old: Path) -> None:
    if folder.exists():
        folder.rename(old)
    try:
        temporary.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
    fsync_dir(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
