"""Immutable, self-verifying Parquet files: written in one step, and verified before they are read.

FORMAT.md in this folder is the specification.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache import storage
from feature_cache.errors import (
    CorruptFileError,
    InvalidInputError,
    MisplacedFileError,
    NewerFormatError,
    WrongSchemaError,
)
from feature_cache.paths import Entry, Location
from feature_cache.schemas import conform

FORMAT_VERSION = 1
ROWS_A_GROUP = 16_384
FORMAT_KEY = b"clip-adapter.format"
KIND_KEY = b"clip-adapter.kind"
OWNER_KEY = b"clip-adapter.owner"
STAMP_KEY = b"clip-adapter.stamp"
VERSION_KEY = b"clip-adapter.version"
_SUFFIX = ".parquet"
_ARROW_SCHEMA = b"\x0cARROW:schema\x18"
_KNOWN: set[tuple[bytes, str, str, pa.Schema | None]] = set()
_MAX_KNOWN = 1000
_FOOTER_BYTES = 2**16  # the footer of a million features; a longer one takes a second read


def write_table(  # noqa: PLR0913  # what a file declares, each by its name
    folder: Location,
    table: pa.Table,
    *,
    kind: str,
    owner: str = "",
    compression: Literal["zstd", "none"] = "zstd",
    stamp: str = "",
) -> Location:
    """Write a table as one immutable file and return its path, `<folder>/<sha256>.parquet`.

    When this returns, the file and its folders survive a power cut. A table that was written
    before, with its rows in the same order, is not written again. The table's metadata are replaced
    by those of the format. A file without an owner declares the version of clip-adapter that wrote
    it; features and indexes do not, so that two versions write the same file.

    Args:
        folder: folder of the file; made if it does not exist.
        table: table with at least one row.
        kind: kind of the rows, which `read_table` checks.
        owner: encoder fingerprint or dataset name to which the rows belong, so that a file in the
            folder of another owner is detected. Empty if the kind is enough.
        compression: "none" for features, which hardly compress; "zstd" for names and numbers.
        stamp: any text that makes the file differ from others with the same rows.

    Raises:
        InvalidInputError: the table has no rows.
        OSError: the disk or the object store refused; no part of a file is left behind.
    """
    if table.num_rows == 0:
        raise InvalidInputError(
            f"no rows of kind {kind!r} to write to {folder}: write only what there is"
        )
    writer = "" if owner else program_version()
    declared = {KIND_KEY: kind, OWNER_KEY: owner, STAMP_KEY: stamp, VERSION_KEY: writer}
    content = _serialize(table, declared, compression=compression)
    return storage.write_addressed(
        folder, content, _SUFFIX, what=f"{table.num_rows:,} rows of {kind}"
    )


def is_final(name: str) -> bool:
    """Return whether a file of this name was written by `write_table` and is complete."""
    return storage.is_digest_name(name, _SUFFIX)


def list_file_entries(folder: Location) -> list[Entry]:
    """List the complete files of a folder, sorted by name; empty if the folder does not exist.

    Temporary and quarantined files have other names and are not listed.
    """
    return [entry for entry in storage.list_entries(folder) if is_final(entry.name)]


def list_files(folder: Location) -> list[Location]:
    """List the paths of the complete files of a folder, sorted; empty if it does not exist.

    Temporary and quarantined files have other names and are not listed.
    """
    return [folder / entry.name for entry in list_file_entries(folder)]


@dataclass(frozen=True)
class VerifiedFile:
    """A file that was read into memory, and whose content has the digest that its name gives.

    Attributes:
        path: path of the file.
        parquet: pyarrow's reader of the bytes that were verified.
        size_bytes: size of the file.
    """

    path: Location
    parquet: Any
    size_bytes: int

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns of the file, without the metadata of the format."""
        return self.parquet.schema_arrow.remove_metadata()

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Read all columns, or the given ones in the given order.

        Raises:
            WrongSchemaError: the file lacks one of the columns.
            CorruptFileError: the rows cannot be decoded.
        """
        names = self.schema.names if columns is None else list(columns)
        self.check_has(*names)
        with _corruption_named(self.path):
            # Files are read in parallel, where threads inside each would slow the others down.
            table = self.parquet.read(columns=names, use_threads=False)
        return table.select(names).replace_schema_metadata()

    def check_has(self, *columns: str) -> None:
        """Raise WrongSchemaError unless the file has these columns."""
        known = self.schema.names
        absent = sorted(set(columns) - set(known))
        if absent:
            raise WrongSchemaError(
                f"{self.path} has no column {', '.join(absent)}: it has {', '.join(known)}"
            )

    def read_in_parts(self, column: str, *, rows: int) -> Iterator[pa.Array]:
        """Read one column, `rows` rows at a time, with one part of it in memory.

        Raises:
            CorruptFileError: the rows cannot be decoded.
        """
        with _corruption_named(self.path):
            for batch in self.parquet.iter_batches(rows, columns=[column], use_threads=False):
                yield batch.column(0)

    def read_as(self, schema: pa.Schema) -> pa.Table:
        """Read the columns of a schema; nullable ones that the file lacks are null.

        Raises:
            WrongSchemaError: a column has another type, or is missing and not nullable.
            CorruptFileError: the rows cannot be decoded.
        """
        known = self.schema.names
        # Without any column the number of rows would be lost, so read at least one.
        names = [name for name in known if name in schema.names] or known[:1]
        return self.conform(self.read(names), schema)

    def conform(self, rows: pa.Table, schema: pa.Schema) -> pa.Table:
        """Bring rows that were read from this file to the columns of a schema.

        Raises:
            WrongSchemaError: a column has another type, or is missing and not nullable.
        """
        versions = versions_in_words(self.parquet.schema_arrow.metadata or {})
        return conform(rows, schema, source=str(self.path), versions=versions)


def open_verified(path: Location, *, kind: str, owner: str = "") -> VerifiedFile:
    """Read a file and verify every bit of it before any row is used.

    Args:
        path: path of a file that `write_table` wrote.
        kind: kind that the rows must be of.
        owner: owner that the rows must have; a file that declares none passes.

    Raises:
        CorruptFileError: the content is not what was written.
        NewerFormatError: the file was written in a later version of the format.
        MisplacedFileError: the file declares another kind or another owner.
        FileNotFoundError: the file does not exist.
    """
    # Page checksums leave out the footer and the page headers; the digest covers everything, and
    # the bytes that are parsed are those that were digested.
    return _parsed(path, storage.read_verified(path), kind=kind, owner=owner)


def _parsed(path: Location, content: pa.Buffer, *, kind: str, owner: str) -> VerifiedFile:
    with _corruption_named(path):
        parquet = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
    _check_declaration(path, parquet.schema_arrow.metadata or {}, kind=kind, owner=owner)
    return VerifiedFile(path, parquet, content.size)


def _declared_schema(content: pa.Buffer) -> bytes:
    """The schema and metadata that pyarrow stored in a footer, serialised; empty if there are none.

    They are the value of the key `ARROW:schema`, and a value in Thrift's compact protocol follows its
    length: seven bits a byte, the lowest first.
    """
    end = bytes(memoryview(content)[-_FOOTER_BYTES:])
    start = end.rfind(_ARROW_SCHEMA) + len(_ARROW_SCHEMA)
    if start < len(_ARROW_SCHEMA):
        return b""
    length = shift = 0
    for byte in end[start : start + 5]:
        start += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return end[start : start + length]


def read_as_parquet(
    path: Location,
    *,
    kind: str,
    owner: str = "",
    schema: pa.Schema | None = None,
    convert: Callable[[VerifiedFile], pa.Table] | None = None,
) -> pa.Buffer:
    """Verify one file and return its bytes, or a Parquet file of the same rows with other columns.

    Args:
        path: path of a file that `write_table` wrote.
        kind: kind that the rows must be of.
        owner: owner that the rows must have; a file that declares none passes.
        schema: columns of the result. None for those of the file.
        convert: makes a table with these columns of a file that has others; `VerifiedFile.read_as` when
            None, by which nullable columns that the file lacks are null.

    Raises:
        CorruptFileError: the content is not what was written.
        NewerFormatError: the file was written in a later version of the format.
        MisplacedFileError: the file declares another kind or another owner.
        WrongSchemaError: a column has another type, or is missing and not nullable.
        FileNotFoundError: the file does not exist.
    """
    content = storage.read_verified(path)
    # To parse a footer of many columns takes longer than to verify a file of some rows. What it declares
    # is the same in all files that one version wrote.
    declared = (_declared_schema(content), kind, owner, schema)
    if declared[0] and declared in _KNOWN:
        return content
    file = _parsed(path, content, kind=kind, owner=owner)
    if schema is not None and file.schema != schema:
        return to_parquet(file.read_as(schema) if convert is None else convert(file))
    if len(_KNOWN) >= _MAX_KNOWN:
        _KNOWN.clear()
    _KNOWN.add(declared)
    return content


def to_parquet(table: pa.Table) -> pa.Buffer:
    """Write a table to a Parquet file in memory, which is read at once and declares nothing."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="NONE")
    return sink.getvalue()


def read_table(
    path: Location, *, kind: str, owner: str = "", columns: Sequence[str] | None = None
) -> pa.Table:
    """Verify one file and read all columns, or the given ones.

    Args:
        path: path of a file that `write_table` wrote.
        kind: kind that the rows must be of.
        owner: owner that the rows must have; a file that declares none passes.
        columns: columns of the result, in this order.

    Raises:
        CorruptFileError: the content is not what was written.
        NewerFormatError: the file was written in a later version of the format.
        MisplacedFileError: the file declares another kind or another owner.
        WrongSchemaError: the file lacks one of the columns.
        FileNotFoundError: the file does not exist.
    """
    return open_verified(path, kind=kind, owner=owner).read(columns)


def read_footer(
    path: Location, *, kind: str, owner: str = "", expected: pa.Schema | None = None
) -> pa.Schema:
    """Read the schema of a file from its last bytes; quick, but the rest is not verified.

    Args:
        path: path of a file that `write_table` wrote.
        kind: kind that the rows must be of.
        owner: owner that the rows must have; a file that declares none passes.
        expected: columns that the file must have; nullable ones may be missing.

    Raises:
        WrongSchemaError: a column has another type, or is missing and not nullable.
        CorruptFileError: the last bytes are no footer of a Parquet file.
        NewerFormatError: the file was written in a later version of the format.
        MisplacedFileError: the file declares another kind or another owner.
        FileNotFoundError: the file does not exist.
    """
    end = _read_end(path)
    with _corruption_named(path):
        schema = pq.ParquetFile(pa.BufferReader(end)).schema_arrow
    metadata = schema.metadata or {}
    _check_declaration(path, metadata, kind=kind, owner=owner)
    if expected is not None:
        versions = versions_in_words(metadata)
        conform(schema.empty_table(), expected, source=str(path), versions=versions)
    return schema.remove_metadata()


def count_rows(path: Location) -> int:
    """The number of rows that the last bytes of a file tell; the rest is not verified.

    Raises:
        CorruptFileError: the last bytes are no footer of a Parquet file.
        FileNotFoundError: the file does not exist.
    """
    end = _read_end(path)
    with _corruption_named(path):
        return int(pq.ParquetFile(pa.BufferReader(end)).metadata.num_rows)


def _read_end(path: Location) -> pa.Buffer:
    end = storage.read_end(path, _FOOTER_BYTES)
    length = int.from_bytes(bytes(end)[-8:-4], "little") + 8
    return end if length <= end.size else storage.read_end(path, length)


@cache
def program_version() -> str:
    """Return the version of clip-adapter; empty if it runs without being installed."""
    try:
        return version("clip-adapter")
    except PackageNotFoundError:
        return ""


def versions_in_words(metadata: Mapping[bytes, bytes]) -> str:
    """Describe the format and program version of a file, and those of this program.

    Args:
        metadata: metadata of the file's schema.
    """
    found = metadata.get(FORMAT_KEY, b"").decode(errors="replace")
    writer = metadata.get(VERSION_KEY, b"").decode(errors="replace")
    return (
        f"written in format {found}{f' by clip-adapter {writer}' if writer else ''}, this is "
        f"clip-adapter {program_version() or 'of no known version'}, which reads up to "
        f"format {FORMAT_VERSION}"
    )


def _serialize(table: pa.Table, declared: dict[bytes, str], *, compression: str) -> pa.Buffer:
    given = {key: word for key, word in declared.items() if word}
    metadata = {FORMAT_KEY: str(FORMAT_VERSION), **given}
    flat = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        # One chunk a column, so that equal rows give equal bytes however they were put together.
        table.combine_chunks().replace_schema_metadata(metadata),
        sink,
        compression=compression.upper(),
        use_dictionary=texts,  # numbers and digests hardly repeat
        write_statistics=flat,  # no query needs the smallest element of all features
        write_page_checksum=True,
        row_group_size=ROWS_A_GROUP,
    )
    return sink.getvalue()


def _check_declaration(
    path: Location, metadata: dict[bytes, bytes], *, kind: str, owner: str
) -> None:
    found = metadata.get(KIND_KEY, b"").decode(errors="replace")
    found_version = metadata.get(FORMAT_KEY, b"")
    found_owner = metadata.get(OWNER_KEY, b"").decode(errors="replace")
    if found_version.isdigit() and int(found_version) > FORMAT_VERSION:
        raise NewerFormatError(
            f"{path} is {versions_in_words(metadata)}: upgrade clip-adapter to read it"
        )
    if found != kind:
        declared = f"{found!r} rows" if found else "rows of no declared kind"
        raise MisplacedFileError(
            f"{path} holds {declared} where {kind!r} rows were expected: "
            "move the file back to the folder it came from"
        )
    if not found_version.isdigit():
        raise CorruptFileError(path, f"it declares no format version but {found_version!r}")
    if owner and found_owner not in {"", owner}:
        raise MisplacedFileError(
            f"{path} belongs to {found_owner[:12]!r} and lies in the folder of {owner[:12]!r}: "
            "move the file back to the folder it came from"
        )


@contextmanager
def _corruption_named(path: Location) -> Iterator[None]:
    try:
        yield
    except (MemoryError, pa.ArrowCancelled):  # raised by pyarrow, but not because of the file
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptFileError(path, str(error)) from error
