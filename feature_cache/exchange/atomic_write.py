"""Exports that are there completely or not at all, and replace nothing unasked."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from feature_cache.durable import make_folder, place, sync_folder
from feature_cache.exchange.errors import ExistingExportError


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Refuse a place that is taken, unless it may be replaced.

    Raises:
        ExistingExportError: Something is there.
    """
    if not overwrite and (path.exists() or path.is_symlink()):
        raise ExistingExportError(f"{path} exists: choose another name, or allow to overwrite it")


def place_file(path: Path, content: bytes | memoryview, *, overwrite: bool) -> Path:
    """Write a file in one step, durably, and return its path.

    Raises:
        ExistingExportError: It exists, or a folder of that name.
        OSError: The disk refused; nothing is left behind.
    """
    refuse_existing(path, overwrite=overwrite and not path.is_dir())
    make_folder(path.parent)
    place(path, pa.py_buffer(content))
    sync_folder(path.parent)
    return path


@contextmanager
def new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `folder` that takes its name when the block ends well.

    Whoever fills it syncs what it puts in. An old folder is set aside before and removed after:
    a writer killed in between leaves it whole beside its place, as `.<name>.<random>.old`.

    Raises:
        ExistingExportError: `folder` exists.
    """
    refuse_existing(folder, overwrite=overwrite)
    make_folder(folder.parent)
    token = secrets.token_hex(8)
    temporary = folder.with_name(f".{folder.name}.{token}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        sync_folder(temporary)
        _take_place(temporary, folder, aside=folder.with_name(f".{folder.name}.{token}.old"))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _take_place(temporary: Path, folder: Path, *, aside: Path) -> None:
    if folder.exists():
        folder.rename(aside)
    try:
        temporary.rename(folder)
    except BaseException:
        if aside.exists():
            aside.rename(folder)
        raise
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)
