"""Immutable, self-verifying Parquet files: the one module that writes at rest.

A file is written under a temporary name in its final folder, synced to disk, then renamed to the
SHA-256 digest of its content. So a file under its final name is complete, a damaged file
contradicts its own name, and two writers of the same rows write the same file. FORMAT.md beside
this module is the specification.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache.durable import make_folder, place, sync_folder
from feature_cache.errors import (
    CorruptFileError,
    EmptyTableError,
    NewerFormatError,
    WrongKindError,
    WrongSchemaError,
)
from feature_cache.schemas import conform

__all__ = [
    "FORMAT_VERSION",
    "list_files",
    "read_schema",
    "read_table",
    "read_tables",
    "verify_file",
    "write_table",
]

FORMAT_VERSION = 1
_FORMAT_KEY = b"clip-adapter.format"
_KIND_KEY = b"clip-adapter.kind"
_FINAL_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


def write_table(
    folder: Path,
    table: pa.Table,
    *,
    kind: str,
    compression: Literal["zstd", "none"] = "zstd",
) -> Path:
    """Write `table` as one immutable file and return its path, `<folder>/<sha256>.parquet`.

    When this returns, the file and the folders made for it survive a power cut. Rows that were
    written before, in the same order, are not written again. The metadata of the table is replaced
    by the format's own.

    Args:
        folder: Where the file goes; made when it does not exist.
        table: At least one row.
        kind: What the rows are; `read_table` asks for the same word.
        compression: "none" for features, which hardly compress; "zstd" for names and numbers.

    Raises:
        EmptyTableError: The table has no rows.
        OSError: The disk refused; nothing is left behind.
    """
    if table.num_rows == 0:
        raise EmptyTableError(
            f"no rows of kind {kind!r} to write to {folder}: write only what there is"
        )
    content = _serialise(table, kind=kind, compression=compression)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{digest}.parquet"
    make_folder(folder)
    if not _is_intact(path):
        place(path, content)
    # Also when another writer was first: it may not have reached this line yet.
    sync_folder(folder)
    return path


def list_files(folder: Path) -> list[Path]:
    """The complete files of a folder, sorted by name; none when the folder does not exist.

    Files being written, or left by a writer that died, have other names and are not listed.
    """
    try:
        return sorted(path for path in folder.iterdir() if _FINAL_NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


def verify_file(path: Path) -> None:
    """Compare the digest of a file's content with its name.

    Raises:
        CorruptFileError: They differ.
        FileNotFoundError: There is no such file.
    """
    found = _digest(path)
    if found != path.stem:
        raise CorruptFileError(path, f"its content has the SHA-256 digest {found}, not its name")


def read_schema(path: Path, *, kind: str) -> pa.Schema:
    """The schema of a verified file, without reading its rows; raises what `read_table` raises."""
    with _open(path, kind) as file:
        return file.schema_arrow.remove_metadata()


def read_table(path: Path, *, kind: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file after proving that every bit of it is as it was written.

    Args:
        path: A file that `write_table` wrote.
        kind: What its rows must be.
        columns: Only these columns, in this order; all of them by default.

    Raises:
        CorruptFileError: The content is not what was written.
        NewerFormatError: A later version of the format; upgrade to read it.
        WrongKindError: The file declares another kind of rows.
        WrongSchemaError: A column that was asked for does not exist.
        FileNotFoundError: There is no such file.
    """
    with _open(path, kind) as file:
        names = file.schema_arrow.names if columns is None else list(columns)
        absent = sorted(set(names) - set(file.schema_arrow.names))
        if absent:
            raise WrongSchemaError(
                f"{path} has no column {', '.join(absent)}: it has "
                f"{', '.join(file.schema_arrow.names)}"
            )
        return _read_columns(path, file, names)


def read_tables(
    folder: Path, *, kind: str, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of every file of a folder, file after file in the order of their names.

    A row that two files hold comes twice. A nullable column that an older file lacks is null
    there; a column that `schema` does not know is left out.

    Args:
        folder: A folder of files; it may be missing, then the table is empty.
        kind: What the rows must be.
        schema: The columns of the answer.
        columns: Only these columns of the schema, in this order.

    Raises:
        WrongSchemaError: A file has a column of another type, or lacks one that cannot be null.
        CorruptFileError, NewerFormatError, WrongKindError: As `read_table`.
    """
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    tables = [schema.empty_table()]
    for path in list_files(folder):
        with _open(path, kind) as file:
            names = file.schema_arrow.names
            # Without any column the number of rows would be lost, so read one at least.
            known = [name for name in names if name in schema.names] or names[:1]
            table = _read_columns(path, file, known)
        tables.append(conform(table, schema, source=str(path)))
    return pa.concat_tables(tables)


def _serialise(table: pa.Table, *, kind: str, compression: str) -> pa.Buffer:
    metadata = {_FORMAT_KEY: str(FORMAT_VERSION), _KIND_KEY: kind}
    flat = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    texts = [field.name for field in table.schema if pa.types.is_string(field.type)]
    sink = pa.BufferOutputStream()
    pq.write_table(
        # One chunk a column, so that the same rows give the same bytes however they came together.
        table.combine_chunks().replace_schema_metadata(metadata),
        sink,
        compression=compression.upper(),
        use_dictionary=texts,  # numbers and digests hardly repeat
        write_statistics=flat,  # the smallest element of all features helps nobody
        write_page_checksum=True,
    )
    return sink.getvalue()


def _open(path: Path, kind: str) -> Any:
    # Page checksums do not cover the footer and the page headers; the digest covers everything.
    verify_file(path)
    with _damage_named(path):
        file = pq.ParquetFile(path, page_checksum_verification=True)
    _check_declaration(path, file.schema_arrow.metadata or {}, kind)
    return file


def _read_columns(path: Path, file: Any, names: list[str]) -> pa.Table:
    with _damage_named(path):
        table = file.read(columns=names)
    return table.select(names).replace_schema_metadata()


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        # With a number it is the system's word (too many open files), not the file's fault.
        if getattr(error, "errno", None) is not None:
            raise
        raise CorruptFileError(path, str(error)) from error


def _check_declaration(path: Path, metadata: dict[bytes, bytes], kind: str) -> None:
    found = metadata.get(_KIND_KEY, b"").decode(errors="replace")
    version = metadata.get(_FORMAT_KEY, b"")
    if version.isdigit() and int(version) > FORMAT_VERSION:
        raise NewerFormatError(path, int(version), FORMAT_VERSION)
    if found != kind:
        raise WrongKindError(path, found, kind)
    if not version.isdigit():
        raise CorruptFileError(path, f"it declares no format version but {version!r}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_intact(path: Path) -> bool:
    try:
        return _digest(path) == path.stem
    except FileNotFoundError:
        return False
