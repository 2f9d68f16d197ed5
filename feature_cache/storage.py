"""One set of words for both kinds of places: a folder of this machine and an object store."""

from pathlib import Path

import pyarrow as pa

from feature_cache import local_fs, object_store
from feature_cache.paths import Entry, Location, ObjectPath


def write_atomic(path: Location, content: pa.Buffer) -> None:
    """Put `content` at `path` in one step and durably; raises OSError, leaving nothing behind."""
    if isinstance(path, Path):
        local_fs.write_atomic(path, content)
    else:
        object_store.write_atomic(path, content)


def read(path: Location) -> pa.Buffer:
    """The bytes at `path`; FileNotFoundError where there are none."""
    return local_fs.read(path) if isinstance(path, Path) else object_store.read(path)


def read_end(path: Location, size_bytes: int) -> pa.Buffer:
    """The last bytes at `path`, at most so many; FileNotFoundError where there are none."""
    if isinstance(path, Path):
        return local_fs.read_end(path, size_bytes)
    return object_store.read_end(path, size_bytes)


def fsync_dir(folder: Location) -> None:
    """Make the names in a folder survive a power cut, those of other writers included."""
    if isinstance(folder, Path):
        local_fs.fsync_dir(folder)


def list_entries(folder: Location) -> list[Entry]:
    """What lies directly in a folder, sorted by name; nothing where there is no folder."""
    found = (
        local_fs.list_entries(folder)
        if isinstance(folder, Path)
        else object_store.list_entries(folder)
    )
    return sorted(found, key=lambda entry: entry.name)


def list_folders(folder: Location) -> list[str]:
    """The names of the folders in a folder, sorted; none where there is no folder."""
    if isinstance(folder, Path):
        return sorted(local_fs.list_folders(folder))
    return sorted(object_store.list_folders(folder))


def is_folder(folder: Location) -> bool:
    """Whether there is a folder, or anything below a prefix."""
    if isinstance(folder, Path):
        return local_fs.is_folder(folder)
    return object_store.is_folder(folder)


def rename(path: Location, name: str) -> None:
    """Give a file another name in its folder; FileNotFoundError where there is none."""
    if isinstance(path, ObjectPath):
        object_store.move(path, path.parent / name)
    else:
        local_fs.move(path, path.parent / name)


def remove(path: Location) -> None:
    """Remove a file; FileNotFoundError where there is none."""
    if isinstance(path, Path):
        local_fs.remove(path)
    else:
        object_store.remove(path)
