"""Find and remove what no reader needs: leftovers, quarantined files, unreferenced features."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from feature_cache import storage
from feature_cache.folders import StoredFolder, classifier_folders, stored_folders
from feature_cache.indexes import INDEX_SCHEMA
from feature_cache.parquet_file import VerifiedFile, list_files, open_verified, write_table
from feature_cache.paths import Entry, Location
from feature_cache.reading import DAMAGED_SUFFIX, read_tables
from feature_cache.schemas import pick

WRITERS_LIVE_SECONDS = 24 * 3600.0
"""Longest time that a writer takes for one file: the writer of an older temporary file is dead."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
"""Pattern of the name of a temporary file, as `local_fs.write_atomic` makes it."""
REPORTS = "reports"
"""Folder of the pages about datasets."""


@dataclass(frozen=True)
class Leftover:
    """A file that no reader reads.

    Attributes:
        path: path of the file.
        size_bytes: size of the file.
        kind: "unfinished" if its writer died, "damaged" if it was quarantined.
    """

    path: Location
    size_bytes: int
    kind: Literal["unfinished", "damaged"]


@dataclass(frozen=True)
class UnreferencedRows:
    """Image features in one file that no dataset index refers to.

    Attributes:
        path: path of the file.
        size_bytes: size of the file with all its rows.
        n_rows: number of unreferenced rows.
        n_kept: number of referenced rows.
    """

    path: Location
    size_bytes: int
    n_rows: int
    n_kept: int


def find_leftovers(root: Location, *, now: float | None = None) -> list[Leftover]:
    """Find temporary files of dead writers and quarantined files.

    Args:
        root: root of the store.
        now: seconds since 1970; the current time by default.
    """
    moment = time.time() if now is None else now
    folders = [
        *(each.path for each in stored_folders(root)),
        *classifier_folders(root),
        root / REPORTS,
    ]
    return [
        Leftover(folder / entry.name, entry.size_bytes, kind)
        for folder in folders
        for entry in storage.list_entries(folder)
        if (kind := _kind(entry, now=moment)) is not None
    ]


def remove_leftovers(leftovers: list[Leftover]) -> None:
    """Remove leftovers; files that are gone already are ignored."""
    for leftover in leftovers:
        with suppress(FileNotFoundError):
            storage.remove(leftover.path)


def drop_unreferenced(  # noqa: PLR0913  # each by its name
    root: Location,
    *,
    dry_run: bool,
    only: pa.Array | None = None,
    keep: pa.Array | None = None,
    without: str = "",
    progress: Callable[[int], None] | None = None,
) -> Iterator[UnreferencedRows]:
    """Drop features of images that no index of any dataset refers to, file by file.

    The rows that are kept are on disk before the file is removed. Prompts are kept. An image that
    is indexed again later is encoded again.

    Args:
        root: root of the store.
        dry_run: only report what would be dropped.
        only: digests whose features may be dropped; those of all images if None.
        keep: digests whose features stay although no index refers to them.
        without: name of a dataset whose indexes do not count.
        progress: function that is called with the size in bytes of each file of image features.

    Raises:
        CorruptFileError, NewerFormatError, MisplacedFileError: an index or a file of features
            cannot be used, so it is unknown what is referenced; nothing more is dropped.
    """
    # Listed before the indexes are read: an extraction stores its index before its features.
    files = [
        (folder, path)
        for folder in stored_folders(root)
        if folder.kind == "image-features"
        for path in list_files(folder.path)
    ]
    for folder, path in files:
        with suppress(FileNotFoundError):  # merged into another file
            file = open_verified(path, kind=folder.kind, owner=folder.owner)
            # Read again for each file: a dataset indexed meanwhile may rely on stored features.
            referenced = _referenced(root, keep=keep, without=without)
            rows = _drop(file, folder, referenced, only=only, dry_run=dry_run)
            if progress is not None:
                progress(rows.size_bytes)
            if rows.n_rows:
                yield rows


def _drop(
    file: VerifiedFile,
    folder: StoredFolder,
    referenced: pa.Array,
    *,
    only: pa.Array | None,
    dry_run: bool,
) -> UnreferencedRows:
    table = file.read()
    import pyarrow.compute as pc  # noqa: PLC0415  # takes 0.1 s to import

    digests = table.column("image_sha256")
    stays = pc.is_in(digests, value_set=referenced)
    if only is not None:
        stays = pc.or_(stays, pc.invert(pc.is_in(digests, value_set=only)))
    kept = table.filter(stays)
    if kept.num_rows < table.num_rows and not dry_run:
        if kept.num_rows:
            write_table(folder.path, kept, kind=folder.kind, owner=folder.owner, compression="none")
        storage.remove(file.path)
    n_dropped = table.num_rows - kept.num_rows
    return UnreferencedRows(file.path, file.size_bytes, n_dropped, kept.num_rows)


def _referenced(root: Location, *, keep: pa.Array | None, without: str) -> pa.Array:
    schema = pick(INDEX_SCHEMA, "image_sha256")
    kept = [] if keep is None else [pa.table([keep.cast(pa.binary(32))], schema=schema)]
    tables = [
        read_tables(folder.path, kind=folder.kind, schema=schema, owner=folder.owner)
        for folder in stored_folders(root)
        if folder.kind == "dataset-index" and folder.owner != without
    ]
    return pa.concat_tables([schema.empty_table(), *kept, *tables]).column(0).combine_chunks()


def _kind(entry: Entry, *, now: float) -> Literal["unfinished", "damaged"] | None:
    if entry.is_folder:  # never removed, not even a quarantined one
        return None
    if entry.name.endswith(DAMAGED_SUFFIX):
        return "damaged"
    dead = now - entry.modified > WRITERS_LIVE_SECONDS
    return "unfinished" if dead and _TEMPORARY.fullmatch(entry.name) else None
