"""The files of a store as a file system from which DuckDB can read verified content, and nothing else."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache import Location
from feature_cache.parquet_file import VerifiedFile, read_as_parquet, to_parquet

PROTOCOL = "store"
_EMPTY, _MERGED = "empty.parquet", "merged-"
_MANY_FILES = 16
"""Files of a small table from which on they are merged: DuckDB takes 0.3 ms for each, and pyarrow copies."""
_KEPT_BYTES = 2**28
"""Content that is kept for the next scan; of more than that, what is not being read is dropped."""


@dataclass(frozen=True, kw_only=True, repr=False)  # fsspec hashes the repr
class StoredTable:
    """The files of one table.

    Attributes:
        list_files: lists the files, each with the owner that its rows must have; empty for none.
        kind: kind that every file must declare.
        schema: columns of the table; None for the columns as they are.
        convert: brings a file of another version to these columns; see `read_as_parquet`.
        is_small: DuckDB gets the rows of many files as one file: a table of few rows, which queries read
            several times.
    """

    list_files: Callable[[], Sequence[tuple[Location, str]]]
    kind: str
    schema: pa.Schema | None
    convert: Callable[[VerifiedFile], pa.Table] | None = None
    is_small: bool = False


class VerifiedFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A read-only file system of the Parquet files of some tables, `store://TABLE/FILE`.

    A file is read and compared with its digest when it is opened; what DuckDB then reads are the bytes
    that were verified. A file of an earlier version is brought to the columns of today in memory. There
    is no path to any other file, and nothing can be written.

    Args:
        tables: the tables by their names.

    Attributes:
        failure: the error about the last file that could not be read; DuckDB passes on only its text.
    """

    protocol = PROTOCOL
    cachable = False  # fsspec would give a second store the files of the first

    def __init__(self, tables: Mapping[str, StoredTable]) -> None:
        super().__init__()
        self._tables = tables
        self._listed: dict[str, dict[str, tuple[Location, str]]] = {}
        self._given: dict[str, pa.Buffer] = {}
        self._kept: OrderedDict[str, pa.Buffer] = OrderedDict()
        self._kept_bytes = 0
        self._reading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self.failure: Exception | None = None

    def give(self, table: str, rows: pa.Table) -> None:
        """Make a table of rows that no file has, in place of the one of that name if there is one."""
        with self._lock:
            self._given = {
                path: each for path, each in self._given.items() if path.partition("/")[0] != table
            }
            self._given[f"{table}/{uuid4().hex}.parquet"] = to_parquet(rows)

    def files(self, table: str) -> list[str]:
        """The paths of the files of a table, listed once, in the order of the listing.

        DuckDB reads no table without a file: one that has none has a file without rows, if its columns
        are known.
        """
        with self._lock:
            if given := [path for path in self._given if path.partition("/")[0] == table]:
                return given
            if table not in self._listed:
                found = self._tables[table].list_files()
                self._listed[table] = {
                    f"{table}/{number:06}-{path.name}": (path, owner)
                    for number, (path, owner) in enumerate(found)
                }
            listed = list(self._listed[table])
        if len(listed) > _MANY_FILES and self._tables[table].is_small:
            digest = hashlib.sha256("".join(listed).encode()).hexdigest()
            return [f"{table}/{_MERGED}{digest}"]
        return listed or ([] if self._tables[table].schema is None else [f"{table}/{_EMPTY}"])

    def content(self, path: str) -> pa.Buffer:
        """The verified bytes of a file.

        Raises:
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: it is damaged or
                cannot be understood.
            FileNotFoundError: it vanished since it was listed.
        """
        with self._lock:
            # A file has another number in the next listing, and keeps its place in the store.
            known = self._listed.get(path.partition("/")[0], {})
            key = str(known[path][0]) if path in known else path
            reading = self._reading.setdefault(key, threading.Lock())
        with reading:  # several threads read one file
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            content = self._read(path)
            with self._lock:
                self._kept[key] = content
                self._kept_bytes += content.size
                while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
                    self._kept_bytes -= self._kept.popitem(last=False)[1].size
            return content

    def forget(self) -> None:
        """List the files anew when they are asked for again."""
        with self._lock:
            self._listed.clear()

    def open(self, path: str, mode: str = "rb", **_: object) -> "_OpenFile":
        """Open a file to read."""
        if mode != "rb":
            raise PermissionError(f"{path}: files of a store are read only")
        return _OpenFile(self.content(_name(path)))

    def glob(self, path: str, **_: object) -> list[str]:
        """The paths of all files of a table, for `store://TABLE/*`."""
        table = _name(path).removesuffix("/*")
        if table not in self._tables and not any(
            each.startswith(f"{table}/") for each in self._given
        ):
            return []
        try:
            return self.files(table)
        except Exception as failure:
            self.failure = failure
            raise

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Size and type of a file."""
        return {"name": path, "size": self.content(_name(path)).size, "type": "file"}

    def modified(self, path: str) -> datetime:  # noqa: ARG002  # a file never changes
        """A constant time: the name of a file changes with its content."""
        return datetime.fromtimestamp(0, UTC)

    def _read(self, path: str) -> pa.Buffer:
        table, _, name = path.partition("/")
        if path in self._given:
            return self._given[path]
        known = self._listed.get(table, {})
        if name == _EMPTY:
            return to_parquet((self._tables[table].schema or pa.schema([])).empty_table())
        if name.startswith(_MERGED):
            parts = [pq.ParquetFile(pa.BufferReader(self.content(each))).read() for each in known]
            return to_parquet(pa.concat_tables(parts))
        if path not in known:
            raise PermissionError(f"{path} is no file of the store, and nothing can be written")
        try:
            location, owner = self._listed[table][path]
            stored = self._tables[table]
            return read_as_parquet(
                location,
                kind=stored.kind,
                owner=owner,
                schema=stored.schema,
                convert=stored.convert,
            )
        except Exception as failure:
            self.failure = failure
            raise


class _OpenFile:
    """One open file; each thread reads from a place of its own."""

    def __init__(self, content: pa.Buffer) -> None:
        self._content, self._at = memoryview(content), threading.local()

    def seek(self, offset: int, whence: int = 0) -> int:
        start = {0: 0, 1: self.tell(), 2: len(self._content)}[whence]
        self._at.offset = start + offset
        return start + offset

    def tell(self) -> int:
        offset: int = getattr(self._at, "offset", 0)
        return offset

    def read(self, n_bytes: int = -1) -> bytes:
        start = self.tell()
        end = len(self._content) if n_bytes < 0 else start + n_bytes
        found = bytes(self._content[start:end])
        self._at.offset = start + len(found)
        return found

    def close(self) -> None:
        """Nothing is held that has to be closed."""


def _name(path: str) -> str:
    return path.removeprefix(f"{PROTOCOL}://").lstrip("/")
