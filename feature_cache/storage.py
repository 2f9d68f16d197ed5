"""One set of words for both kinds of places: a folder of this machine and an object store."""

from pathlib import Path

import pyarrow as pa

from feature_cache import durable, objects
from feature_cache.paths import Entry, Location, ObjectPath


def place(path: Location, content: pa.Buffer) -> None:
    """Put `content` at `path` in one step and durably; raises OSError, leaving nothing behind."""
    if isinstance(path, Path):
        durable.place(path, content)
    else:
        objects.place(path, content)


def read(path: Location) -> pa.Buffer:
    """The bytes at `path`; FileNotFoundError where there are none."""
    return durable.read(path) if isinstance(path, Path) else objects.read(path)


def read_end(path: Location, size_bytes: int) -> pa.Buffer:
    """The last bytes at `path`, at most so many; FileNotFoundError where there are none."""
    if isinstance(path, Path):
        return durable.read_end(path, size_bytes)
    return objects.read_end(path, size_bytes)


def settle(path: Location) -> None:
    """Make sure that what another writer just put at `path` survives a power cut, too."""
    if isinstance(path, Path):
        durable.sync_folder(path.parent)


def list_entries(folder: Location) -> list[Entry]:
    """What lies directly in a folder, sorted by name; nothing where there is no folder."""
    found = (
        durable.list_entries(folder) if isinstance(folder, Path) else objects.list_entries(folder)
    )
    return sorted(found, key=lambda entry: entry.name)


def list_folders(folder: Location) -> list[str]:
    """The names of the folders in a folder, sorted; none where there is no folder."""
    if isinstance(folder, Path):
        return sorted(durable.list_folders(folder))
    return sorted(objects.list_folders(folder))


def is_folder(folder: Location) -> bool:
    """Whether there is a folder, or anything below a prefix."""
    if isinstance(folder, Path):
        return durable.is_folder(folder)
    return objects.is_folder(folder)


def move_aside(path: Location, name: str) -> None:
    """Give a file another name in its folder; FileNotFoundError where there is none."""
    if isinstance(path, ObjectPath):
        objects.move(path, path.parent / name)
    else:
        durable.move(path, path.parent / name)


def remove(path: Location) -> None:
    """Remove a file; FileNotFoundError where there is none."""
    if isinstance(path, Path):
        durable.remove(path)
    else:
        objects.remove(path)
