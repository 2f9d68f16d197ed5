"""Merge many small files into few large ones without losing a row, even when interrupted."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import FILE_ERRORS
from feature_cache.folders import StoredFolder
from feature_cache.parquet_file import VerifiedFile, list_file_entries, open_verified, write_table
from feature_cache.paths import Entry, Location
from feature_cache.reading import OnCorruption, raise_on_corruption

FULL_SIZE_BYTES = 128 * 2**20
"""Size from which a file is not merged; readers have a few files of this size in memory."""


@dataclass(frozen=True)
class Compaction:
    """Result of merging the files of a folder.

    Attributes:
        path: path of the folder.
        n_files_before: number of files that were merged.
        n_files_after: number of files with their rows now.
        n_rows_dropped: number of rows that repeated the key, or all values, of another row.
    """

    path: Location
    n_files_before: int
    n_files_after: int
    n_rows_dropped: int


def compact_folder(
    folder: StoredFolder,
    *,
    at_least: int = 2,
    below_bytes: int = FULL_SIZE_BYTES,
    on_corruption: OnCorruption = raise_on_corruption,
    progress: Callable[[int], None] | None = None,
) -> Compaction | None:
    """Merge the small files of a folder; return None if fewer than `at_least` can be merged.

    The merged file is on disk before the small ones are removed: if the process is killed at any
    moment, the union of the files is unchanged. Two processes that compact at once write rows twice
    at most, which readers count once. Readers list the folder again if a file vanishes; a running
    query over a table of runs may have to be repeated. Files of different schemas are not merged.

    Args:
        folder: folder of the files, with the key that identifies a row.
        at_least: number of small files from which merging is worthwhile.
        below_bytes: size below which a file is small. Small files are merged into files of up to twice
            that size, and never more than `FULL_SIZE_BYTES`: it bounds the memory that merging takes.
        on_corruption: handler of a file that cannot be used; such a file is never merged.
        progress: function that is called with the size in bytes of each file.

    Raises:
        CorruptFileError, NewerFormatError, MisplacedFileError: `on_corruption` raised the error
            about a file.
        OSError: the disk or the object store refused; no row is lost.
    """
    small = [each for each in list_file_entries(folder.path) if each.size_bytes < below_bytes]
    if len(small) < at_least:
        return None
    merged = [
        _merge(folder, files)
        for group in _groups(small, min(2 * below_bytes, FULL_SIZE_BYTES))
        for files in _by_schema(_open_all(folder, group, on_corruption, progress))
        if len(files) > 1
    ]
    if not merged:
        return None
    return Compaction(
        folder.path,
        n_files_before=sum(each.n_files_before for each in merged),
        n_files_after=len(merged),
        n_rows_dropped=sum(each.n_rows_dropped for each in merged),
    )


def _merge(folder: StoredFolder, files: list[VerifiedFile]) -> Compaction:
    table = pa.concat_tables([file.read() for file in files])
    unique = _drop_duplicates(table, folder.key)
    write_table(
        folder.path,
        unique,
        kind=folder.kind,
        owner=folder.owner,
        compression="none" if folder.has_features else "zstd",
        # Never the name of an existing file, which another process may be about to remove.
        stamp=secrets.token_hex(8),
    )
    # In reverse order, so that of two rows with one key the same one counts at any moment.
    for file in reversed(files):
        with suppress(FileNotFoundError):  # another process merged it, too
            storage.remove(file.path)
    return Compaction(folder.path, len(files), 1, table.num_rows - unique.num_rows)


def _groups(entries: list[Entry], most_bytes: int) -> Iterator[list[Entry]]:
    """Group consecutive files that are not larger than one file may be."""
    group: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        if group and size_bytes + entry.size_bytes > most_bytes:
            yield group
            group, size_bytes = [], 0
        group.append(entry)
        size_bytes += entry.size_bytes
    yield group


def _open_all(
    folder: StoredFolder,
    group: list[Entry],
    on_corruption: OnCorruption,
    progress: Callable[[int], None] | None,
) -> Iterator[VerifiedFile]:
    for entry in group:
        path = folder.path / entry.name
        if progress is not None:
            progress(entry.size_bytes)
        try:
            yield open_verified(path, kind=folder.kind, owner=folder.owner)
        except FileNotFoundError:  # another process merged it
            continue
        except FILE_ERRORS as error:
            on_corruption(path, error)


def _by_schema(files: Iterator[VerifiedFile]) -> list[list[VerifiedFile]]:
    by_schema: dict[pa.Schema, list[VerifiedFile]] = {}
    for file in files:
        by_schema.setdefault(file.schema, []).append(file)
    return list(by_schema.values())


def _drop_duplicates(table: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """Keep the first row of each key, or of each row if there is no key, in order."""
    names = list(key) or table.column_names
    if any(pa.types.is_nested(table.schema.field(name).type) for name in names):
        return table  # Arrow cannot group these, and readers count repeated rows once
    columns = [*(table.column(name) for name in names), pa.array(np.arange(table.num_rows))]
    by_position = [str(position) for position in range(len(names))]
    numbered = pa.Table.from_arrays(columns, names=[*by_position, "row"])
    firsts = numbered.group_by(by_position).aggregate([("row", "min")]).column("row_min")
    if len(firsts) == table.num_rows:
        return table
    return table.take(pa.array(np.sort(firsts.to_numpy())))
