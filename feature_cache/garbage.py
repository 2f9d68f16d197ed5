"""What lies in a store and serves nobody: leftovers, damaged files, features of lost images."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from feature_cache import storage
from feature_cache.contents import classifier_folders
from feature_cache.files import list_files, write_table
from feature_cache.folders import StoredFolder, stored_folders
from feature_cache.indexes import INDEX_SCHEMA
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.paths import Entry, Location
from feature_cache.reading import DAMAGED_SUFFIX, read_tables
from feature_cache.schemas import pick

WRITERS_LIVE_SECONDS = 24 * 3600.0
"""No writer takes so long over one file: an older temporary file has lost its writer."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{16}\.tmp")


@dataclass(frozen=True)
class Leftover:
    """A file that no reader reads.

    Attributes:
        path: The file.
        size_bytes: Its size.
        sort: A writer that died left it unfinished, or it was set aside as damaged.
    """

    path: Location
    size_bytes: int
    sort: Literal["unfinished", "damaged"]


@dataclass(frozen=True)
class UnreferencedRows:
    """Features in one file of images that no dataset index names.

    Attributes:
        path: The file.
        size_bytes: Its size, with all its rows.
        n_rows: How many of its rows nobody refers to.
        n_kept: How many of its rows somebody does.
    """

    path: Location
    size_bytes: int
    n_rows: int
    n_kept: int


def find_leftovers(root: Location, *, now: float | None = None) -> list[Leftover]:
    """The leftovers of dead writers, and files that were set aside.

    Args:
        root: Of everything at rest.
        now: Seconds since 1970; the clock's by default.
    """
    moment = time.time() if now is None else now
    folders = [*(each.path for each in stored_folders(root)), *classifier_folders(root)]
    return [
        Leftover(folder / entry.name, entry.size_bytes, sort)
        for folder in folders
        for entry in storage.list_entries(folder)
        if (sort := _sort(entry, now=moment)) is not None
    ]


def remove_leftovers(leftovers: list[Leftover]) -> None:
    """Remove them; one that is gone already is none the worse."""
    for leftover in leftovers:
        with suppress(FileNotFoundError):
            storage.remove(leftover.path)


def drop_unreferenced(
    root: Location, *, dry_run: bool, progress: Callable[[int], None] | None = None
) -> Iterator[UnreferencedRows]:
    """Drop the features of images that no index of any dataset names, file by file.

    What is kept of a file is on disk before the file is removed. Prompts are kept. An image that
    comes back is encoded again.

    Args:
        root: Of everything at rest.
        dry_run: Only tell.
        progress: Called after each file of image features with its size in bytes.

    Raises:
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: A file cannot be
            trusted, so what it refers to is not known; nothing more is dropped.
    """
    # Listed before the indexes are read: who extracts meanwhile recorded the index before features.
    files = [
        (folder, path)
        for folder in stored_folders(root)
        if folder.kind == "image-features"
        for path in list_files(folder.path)
    ]
    for folder, path in files:
        with suppress(FileNotFoundError):  # merged into another
            file = open_verified(path, kind=folder.kind, owner=folder.owner)
            rows = _drop(file, folder, root, dry_run=dry_run)
            if progress is not None:
                progress(rows.size_bytes)
            if rows.n_rows:
                yield rows


def _drop(
    file: VerifiedFile, folder: StoredFolder, root: Location, *, dry_run: bool
) -> UnreferencedRows:
    table = file.read()
    # Read anew for each file: a dataset indexed a moment ago may rely on features that are there.
    referenced = _referenced(root)
    import pyarrow.compute as pc  # noqa: PLC0415  # 0.1 s, for whoever computes

    kept = table.filter(pc.is_in(table.column("image_sha256"), value_set=referenced))
    if kept.num_rows < table.num_rows and not dry_run:
        if kept.num_rows:
            write_table(folder.path, kept, kind=folder.kind, owner=folder.owner, compression="none")
        storage.remove(file.path)
    n_dropped = table.num_rows - kept.num_rows
    return UnreferencedRows(file.path, file.size_bytes, n_dropped, kept.num_rows)


def _referenced(root: Location) -> pa.Array:
    schema = pick(INDEX_SCHEMA, "image_sha256")
    tables = [
        read_tables(folder.path, kind=folder.kind, schema=schema, owner=folder.owner)
        for folder in stored_folders(root)
        if folder.kind == "dataset-index"
    ]
    return pa.concat_tables([schema.empty_table(), *tables]).column(0).combine_chunks()


def _sort(entry: Entry, *, now: float) -> Literal["unfinished", "damaged"] | None:
    if entry.is_folder:  # set aside or not, whoever put it there has to look at it
        return None
    if entry.name.endswith(DAMAGED_SUFFIX):
        return "damaged"
    dead = now - entry.modified > WRITERS_LIVE_SECONDS
    return "unfinished" if dead and _TEMPORARY.fullmatch(entry.name) else None
