"""Immutable, self-verifying Parquet files: the one module that writes at rest.

A file is put in its folder in one step, under the SHA-256 digest of its content. So a file under
its final name is complete, a damaged file contradicts its own name, and two writers of the same
rows write the same file. FORMAT.md beside this module is the specification.
"""

import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache import storage
from feature_cache.errors import CorruptFileError, EmptyTableError
from feature_cache.paths import Location

FORMAT_VERSION = 1
ROWS_A_GROUP = 16_384
FORMAT_KEY = b"clip-adapter.format"
KIND_KEY = b"clip-adapter.kind"
OWNER_KEY = b"clip-adapter.owner"
STAMP_KEY = b"clip-adapter.stamp"
VERSION_KEY = b"clip-adapter.version"
_FINAL_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


def write_table(  # noqa: PLR0913  # what a file declares, each by its name
    folder: Location,
    table: pa.Table,
    *,
    kind: str,
    owner: str = "",
    compression: Literal["zstd", "none"] = "zstd",
    stamp: str = "",
) -> Location:
    """Write `table` as one immutable file and return its path, `<folder>/<sha256>.parquet`.

    When this returns, the file and the folders made for it survive a power cut. Rows that were
    written before, in the same order, are not written again. The metadata of the table is replaced
    by the format's own. A file without an owner declares the version of clip-adapter that wrote it;
    features and indexes do not, so that two versions write the same file.

    Args:
        folder: Where the file goes; made when it does not exist.
        table: At least one row.
        kind: What the rows are; `read_table` asks for the same word.
        owner: Whose the rows are, an encoder's fingerprint or a dataset's name: so that a file
            that strays into another's folder is noticed. Empty where the kind says enough.
        compression: "none" for features, which hardly compress; "zstd" for names and numbers.
        stamp: Makes a file of its own of rows that another file may hold already.

    Raises:
        EmptyTableError: The table has no rows.
        OSError: The disk or the object store refused; no part of a file is left behind.
    """
    if table.num_rows == 0:
        raise EmptyTableError(
            f"no rows of kind {kind!r} to write to {folder}: write only what there is"
        )
    writer = "" if owner else program_version()
    declared = {KIND_KEY: kind, OWNER_KEY: owner, STAMP_KEY: stamp, VERSION_KEY: writer}
    content = _serialise(table, declared, compression=compression)
    path = folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
    if _is_intact(path):
        storage.fsync_dir(folder)
    else:
        storage.write_atomic(path, content)
    return path


def list_files(folder: Location) -> list[Location]:
    """Everything under a final name in a folder, sorted; nothing when it does not exist.

    Files being written, set aside, or left by a writer that died have other names and are not
    listed.
    """
    return [folder / entry.name for entry in storage.list_entries(folder) if is_final(entry.name)]


def is_final(name: str) -> bool:
    """Whether a file of this name is complete and meant to be read."""
    return _FINAL_NAME.fullmatch(name) is not None


@cache
def program_version() -> str:
    """The installed version of clip-adapter; empty where it is run without being installed."""
    try:
        return version("clip-adapter")
    except PackageNotFoundError:
        return ""


def versions_in_words(metadata: Mapping[bytes, bytes]) -> str:
    """Which format and version of clip-adapter a file declares, and which ones read it.

    Args:
        metadata: Of the file's schema.
    """
    found = metadata.get(FORMAT_KEY, b"").decode(errors="replace")
    writer = metadata.get(VERSION_KEY, b"").decode(errors="replace")
    return (
        f"written in format {found}{f' by clip-adapter {writer}' if writer else ''}, this is "
        f"clip-adapter {program_version() or 'of no known version'}, which reads up to "
        f"format {FORMAT_VERSION}"
    )


def digest_of(path: Location) -> str:
    """The SHA-256 digest of a file's content, in hexadecimal.

    Raises:
        FileNotFoundError: There is nothing.
        CorruptFileError: There is a folder, a pipe, or a link.
    """
    return hashlib.sha256(storage.read(path)).hexdigest()


def verify_file(path: Location) -> None:
    """Compare the digest of a file's content with its name.

    Raises:
        CorruptFileError: They differ.
        FileNotFoundError: There is no such file.
    """
    check_digest(path, digest_of(path))


def _serialise(table: pa.Table, declared: dict[bytes, str], *, compression: str) -> pa.Buffer:
    said = {key: word for key, word in declared.items() if word}
    metadata = {FORMAT_KEY: str(FORMAT_VERSION), **said}
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
        row_group_size=ROWS_A_GROUP,
    )
    return sink.getvalue()


def check_digest(path: Location, found: str) -> None:
    """Raise CorruptFileError where the digest of a file's content is not its name."""
    if found != path.stem:
        raise CorruptFileError(path, f"its content has the SHA-256 digest {found}, not its name")


def _is_intact(path: Location) -> bool:
    try:
        return digest_of(path) == path.stem
    except (FileNotFoundError, CorruptFileError):
        return False
