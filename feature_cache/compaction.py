"""Many small files become few large ones, and not a row is lost whenever it is interrupted."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import FeatureCacheError, ObjectStoreError
from feature_cache.files import is_final, write_table
from feature_cache.folders import StoredFolder
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.paths import Entry, Location
from feature_cache.reading import OnCorruption, raise_on_corruption

FULL_SIZE_BYTES = 128 * 2**20
"""A file of this size is left alone; readers hold a few files of this size in memory."""


@dataclass(frozen=True)
class Compaction:
    """What merging the files of a folder came to.

    Attributes:
        path: The folder.
        n_files_before: Files that were merged.
        n_files_after: Files that hold their rows now.
        n_rows_dropped: Rows that another row with the same key, or the same row, made superfluous.
    """

    path: Location
    n_files_before: int
    n_files_after: int
    n_rows_dropped: int


def compact_folder(
    folder: StoredFolder,
    *,
    at_least: int = 2,
    on_corruption: OnCorruption = raise_on_corruption,
    progress: Callable[[int], None] | None = None,
) -> Compaction | None:
    """Merge the small files of a folder; None where fewer than `at_least` are to be merged.

    The merged file is on disk before the small ones are removed: killed at any moment, the union
    of the files is what it was. Two that compact at once write rows twice at most, which readers
    count once. Readers look again for what vanished; a query under way over a table of runs may
    have to be asked again. Files of different schema are not merged.

    Args:
        folder: Which files, and by which key rows are told apart.
        at_least: How many small files are worth merging.
        on_corruption: What to do about a file that cannot be trusted; it is never merged.
        progress: Called with the size in bytes of each file as it has been read.

    Raises:
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: By way of `on_corruption`.
        OSError: The disk or the store refused; no row is lost.
    """
    small = [each for each in storage.list_entries(folder.path) if _is_small(each)]
    if len(small) < at_least:
        return None
    merged = [
        _merge(folder, files)
        for group in _groups(small)
        for files in _of_one_schema(_open_all(folder, group, on_corruption, progress))
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
    unique = _without_copies(table, folder.key)
    write_table(
        folder.path,
        unique,
        kind=folder.kind,
        owner=folder.owner,
        compression="none" if folder.has_features else "zstd",
        # Never the name of another file, which somebody else may be about to remove as merged.
        stamp=secrets.token_hex(8),
    )
    # The first last, so that of two rows with one key the same counts at any moment.
    for file in reversed(files):
        with suppress(FileNotFoundError):  # somebody else merged it, too
            storage.remove(file.path)
    return Compaction(folder.path, len(files), 1, table.num_rows - unique.num_rows)


def _is_small(entry: Entry) -> bool:
    return is_final(entry.name) and entry.size_bytes < FULL_SIZE_BYTES


def _groups(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Neighbours that make about one full file together."""
    group: list[Entry] = []
    size_bytes = 0
    for entry in entries:
        if group and size_bytes + entry.size_bytes > FULL_SIZE_BYTES:
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
        except FileNotFoundError:  # somebody else merged it
            continue
        except ObjectStoreError:  # says nothing about the file
            raise
        except FeatureCacheError as error:
            on_corruption(path, error)


def _of_one_schema(files: Iterator[VerifiedFile]) -> list[list[VerifiedFile]]:
    by_schema: dict[pa.Schema, list[VerifiedFile]] = {}
    for file in files:
        by_schema.setdefault(file.schema, []).append(file)
    return list(by_schema.values())


def _without_copies(table: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """The first row of each key, in the order they stand in; without a key, of each row."""
    names = list(key) or table.column_names
    if any(pa.types.is_nested(table.schema.field(name).type) for name in names):
        return table  # Arrow cannot group these, and readers count copies once anyhow
    columns = [*(table.column(name) for name in names), pa.array(np.arange(table.num_rows))]
    by_place = [str(place) for place in range(len(names))]
    numbered = pa.Table.from_arrays(columns, names=[*by_place, "row"])
    firsts = numbered.group_by(by_place).aggregate([("row", "min")]).column("row_min")
    if len(firsts) == table.num_rows:
        return table
    return table.take(pa.array(np.sort(firsts.to_numpy())))
