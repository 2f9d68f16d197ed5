"""Rows of stored files: read, counted, and removed by writing the file anew without them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clip_adapter.runs import RUN_TABLES
from feature_cache import (
    Location,
    StoredFolder,
    list_file_entries,
    read_tables,
    storage,
    write_table,
)
from feature_cache.garbage import WRITERS_LIVE_SECONDS
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.paths import Entry
from feature_cache.schemas import pick


@dataclass(frozen=True, kw_only=True)
class ChangedRows:
    """Rows of one kind that are written anew or removed.

    Attributes:
        kind: kind of the rows, as "runs" or "image-features"; "classifiers" are files.
        n_files: number of files that hold them.
        n_rows: number of rows.
        size_bytes: bytes that they take, estimated in files that also hold other rows.
    """

    kind: str
    n_files: int
    n_rows: int
    size_bytes: int


def open_all(folder: StoredFolder) -> Iterator[VerifiedFile]:
    """Every file of a folder, the oldest first, and those that appear meanwhile."""
    return (file for _, file in _open_entries(folder))


def _open_entries(folder: StoredFolder) -> Iterator[tuple[Entry, VerifiedFile]]:
    seen: set[str] = set()
    while fresh := [each for each in list_file_entries(folder.path) if each.name not in seen]:
        seen.update(entry.name for entry in fresh)
        # Where no request is recorded, the index whose file is the newest is current.
        for entry in sorted(fresh, key=lambda each: each.modified):
            path = folder.path / entry.name
            with suppress(FileNotFoundError):  # merged into another file
                yield entry, open_verified(path, kind=folder.kind, owner=folder.owner)


def read_rows(
    root: Location, table: str, *columns: str, schema: pa.Schema | None = None
) -> pa.Table:
    """Columns of a table of runs, of its own schema if None."""
    wanted = pick(RUN_TABLES[table] if schema is None else schema, *columns)
    return read_tables(root / "runs" / table, kind=table, schema=wanted)


def drop_rows(
    folder: StoredFolder,
    selects: Callable[[pa.Table], pa.ChunkedArray] | None = None,
    *,
    orphans: Callable[[pa.Table], pa.ChunkedArray] | None = None,
    dry_run: bool,
) -> Iterator[ChangedRows]:
    """Remove rows file by file; those that stay are on disk before a file is removed.

    Args:
        folder: folder of the files.
        selects: function from the rows of a file to the mask of those to remove; none if None.
        orphans: function from the rows of a file to the mask of those that nothing refers to. It is called
            for files older than a day: a living writer may be about to refer to the rows of a younger one.
        dry_run: only count them.
    """
    for entry, file in _open_entries(folder):
        is_old = time.time() - entry.modified > WRITERS_LIVE_SECONDS
        masks = [selects] if selects else []
        masks += [orphans] if orphans and is_old else []
        if not masks:
            continue
        table = file.read()
        drops = reduce(pc.or_, (mask(table) for mask in masks))
        n_dropped = n_true(drops)
        if not n_dropped:
            continue
        if not dry_run:
            kept = table.filter(pc.invert(drops))
            if kept.num_rows:
                compression: Any = "none" if folder.has_features else "zstd"
                write_table(
                    folder.path,
                    kept,
                    kind=folder.kind,
                    owner=folder.owner,
                    compression=compression,
                )
            remove_file(file.path)
        yield counted(folder.kind, file, n_dropped, table.num_rows)


def is_in(column: pa.ChunkedArray, values: frozenset[str]) -> pa.ChunkedArray:
    """Mask of the strings that are among the values."""
    return pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))


def n_true(mask: pa.ChunkedArray) -> int:
    """Number of rows that a mask selects."""
    count: int = pc.sum(pc.cast(mask, pa.int64())).as_py() or 0
    return count


def counted(kind: str, file: VerifiedFile, n_rows: int, n_all: int) -> ChangedRows:
    """`n_rows` of the `n_all` rows of a file."""
    size_bytes = file.size_bytes * n_rows // n_all
    return ChangedRows(kind=kind, n_files=1, n_rows=n_rows, size_bytes=size_bytes)


def summed(changed: list[ChangedRows]) -> tuple[ChangedRows, ...]:
    """One entry for each kind, in the order of their first."""
    sums: dict[str, Counter[str]] = {}
    for each in changed:
        counts = {name: value for name, value in vars(each).items() if name != "kind"}
        sums.setdefault(each.kind, Counter()).update(counts)
    return tuple(ChangedRows(kind=kind, **counts) for kind, counts in sums.items())


def remove_file(path: Location) -> None:
    """Remove a file, if it is still there."""
    with suppress(FileNotFoundError):  # another process was faster
        storage.remove(path)
