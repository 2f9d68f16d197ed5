"""One file opened: read into memory whole, and proven to be what was written before it is parsed."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache import storage
from feature_cache.errors import (
    CorruptFileError,
    NewerFormatError,
    WrongKindError,
    WrongOwnerError,
    WrongSchemaError,
)
from feature_cache.files import (
    FORMAT_KEY,
    FORMAT_VERSION,
    KIND_KEY,
    OWNER_KEY,
    check_digest,
    versions_in_words,
)
from feature_cache.paths import Location
from feature_cache.schemas import conform

_END_BYTES = 2**16
"""Holds the footer of a million features; a longer one takes a second look."""


@dataclass(frozen=True)
class VerifiedFile:
    """A file of which every byte is in memory and as it was written.

    Attributes:
        path: Where it lies.
        parquet: pyarrow's reader of those very bytes.
        size_bytes: How many they are.
    """

    path: Location
    parquet: Any
    size_bytes: int

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns, without the metadata of the format."""
        return self.parquet.schema_arrow.remove_metadata()

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Its rows; only these columns, in this order, when some are named.

        Raises:
            WrongSchemaError: A column that was asked for does not exist.
            CorruptFileError: The rows cannot be decoded.
        """
        names = self.schema.names if columns is None else list(columns)
        self.check_has(*names)
        with _damage_named(self.path):
            # Files are read in parallel; threads within one only get into each other's way.
            table = self.parquet.read(columns=names, use_threads=False)
        return table.select(names).replace_schema_metadata()

    def check_has(self, *columns: str) -> None:
        """Raise WrongSchemaError unless it has these columns."""
        known = self.schema.names
        absent = sorted(set(columns) - set(known))
        if absent:
            raise WrongSchemaError(
                f"{self.path} has no column {', '.join(absent)}: it has {', '.join(known)}"
            )

    def read_in_parts(self, column: str, *, rows: int) -> Iterator[pa.Array]:
        """One column from top to bottom, so many rows at a time: memory holds one part of it.

        Raises:
            CorruptFileError: The rows cannot be decoded.
        """
        with _damage_named(self.path):
            for batch in self.parquet.iter_batches(rows, columns=[column], use_threads=False):
                yield batch.column(0)

    def read_as(self, schema: pa.Schema) -> pa.Table:
        """Its rows with just the columns of `schema`; those it lacks and may lack are null.

        Raises:
            WrongSchemaError: A column has another type, or is missing and cannot be null.
        """
        known = self.schema.names
        # Without any column the number of rows would be lost, so read one at least.
        names = [name for name in known if name in schema.names] or known[:1]
        return self.conform(self.read(names), schema)

    def conform(self, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Rows that were read from it, with just the columns of `schema`; raises as `read_as`."""
        versions = versions_in_words(self.parquet.schema_arrow.metadata)
        return conform(rows, schema, source=str(self.path), versions=versions)


def open_verified(path: Location, *, kind: str, owner: str = "") -> VerifiedFile:
    """Read a file and prove that every bit of it is as it was written, before any row is used.

    Args:
        path: A file that `write_table` wrote.
        kind: What its rows must be.
        owner: Whose they must be; a file that does not say is taken as it is.

    Raises:
        CorruptFileError: The content is not what was written.
        NewerFormatError: A later version of the format; upgrade to read it.
        WrongKindError: The file declares another kind of rows.
        WrongOwnerError: The file was written for another encoder or dataset.
        FileNotFoundError: There is no such file.
    """
    content = storage.read(path)
    # Page checksums do not cover the footer and the page headers; the digest covers everything,
    # and what is parsed is what was digested.
    check_digest(path, hashlib.sha256(content).hexdigest())
    with _damage_named(path):
        parquet = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    _check_declaration(path, parquet.schema_arrow.metadata or {}, kind=kind, owner=owner)
    return VerifiedFile(path, parquet, content.size)


def read_table(
    path: Location, *, kind: str, owner: str = "", columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of one verified file; raises what `open_verified` and `VerifiedFile.read` raise."""
    return open_verified(path, kind=kind, owner=owner).read(columns)


def read_footer(
    path: Location, *, kind: str, owner: str = "", expected: pa.Schema | None = None
) -> pa.Schema:
    """The schema a file declares, from its last bytes alone: quick, and no proof of the rest.

    Args:
        path: A file that `write_table` wrote.
        kind: What its rows must be.
        owner: Whose they must be; a file that does not say is taken as it is.
        expected: The columns that it must have, as `VerifiedFile.read_as` takes them.

    Raises:
        WrongSchemaError: A column has another type, or is missing and cannot be null.
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError, FileNotFoundError: As
            `open_verified`.
    """
    end = storage.read_end(path, _END_BYTES)
    length = int.from_bytes(bytes(end)[-8:-4], "little") + 8
    if length > end.size:
        end = storage.read_end(path, length)
    with _damage_named(path):
        schema = pq.ParquetFile(pa.BufferReader(end)).schema_arrow
    metadata = schema.metadata or {}
    _check_declaration(path, metadata, kind=kind, owner=owner)
    if expected is not None:
        versions = versions_in_words(metadata)
        conform(schema.empty_table(), expected, source=str(path), versions=versions)
    return schema.remove_metadata()


@contextmanager
def _damage_named(path: Location) -> Iterator[None]:
    try:
        yield
    except (MemoryError, pa.ArrowCancelled):  # pyarrow's own, and no fault of the file
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptFileError(path, str(error)) from error


def _check_declaration(
    path: Location, metadata: dict[bytes, bytes], *, kind: str, owner: str
) -> None:
    found = metadata.get(KIND_KEY, b"").decode(errors="replace")
    version = metadata.get(FORMAT_KEY, b"")
    said = metadata.get(OWNER_KEY, b"").decode(errors="replace")
    if version.isdigit() and int(version) > FORMAT_VERSION:
        raise NewerFormatError(
            path, int(version), FORMAT_VERSION, versions=versions_in_words(metadata)
        )
    if found != kind:
        raise WrongKindError(path, found, kind)
    if not version.isdigit():
        raise CorruptFileError(path, f"it declares no format version but {version!r}")
    if owner and said not in {"", owner}:
        raise WrongOwnerError(path, said, owner)
