"""Read all files of a folder, and handle those that cannot be used."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import FILE_ERRORS, CorruptFileError, FeatureCacheError, NewerFormatError
from feature_cache.parquet_file import VerifiedFile, list_file_entries, open_verified
from feature_cache.paths import Entry, Location, ObjectPath

DAMAGED_SUFFIX = ".damaged"
_SMALL_BYTES = 2**20
_MAX_AHEAD = 8  # files being read, verified and decoded while another is used
_MAX_LARGE_AHEAD = 2  # large files among these; each takes some 300 MiB of memory

_Result = TypeVar("_Result")
OnCorruption = Callable[[Location, FeatureCacheError], None]
"""Handler of a file that cannot be used: raises, or returns to continue without the file."""


def raise_on_corruption(path: Location, error: FeatureCacheError) -> None:  # noqa: ARG001  # an OnCorruption
    """Raise the error, so that no result is computed from a part of the rows unnoticed."""
    raise error


def quarantine_file(path: Location, error: FeatureCacheError) -> None:
    """Rename a file so that it is not read again and its rows count as missing.

    A file of a newer format keeps its name, since another program can read it. A file that another
    writer has replaced by an intact one in the meantime gets its name back.
    """
    if isinstance(error, NewerFormatError):
        return
    quarantined = f"{path.stem}.{secrets.token_hex(4)}{DAMAGED_SUFFIX}"
    try:
        storage.rename(path, quarantined)
    except FileNotFoundError:  # another reader was faster
        return
    aside = path.parent / quarantined
    if isinstance(error, CorruptFileError) and storage.is_intact(aside, path.stem):
        storage.rename(aside, path.name)


def each_file(
    folder: Location,
    use: Callable[[VerifiedFile], _Result],
    *,
    kind: str,
    owner: str = "",
    on_corruption: OnCorruption = raise_on_corruption,
) -> Iterator[_Result]:
    """Yield the result of a function for every file of a folder, in the order of their names.

    A file that vanishes meanwhile was merged into another, and a listing may show neither. So the
    folder is listed again until there is no new file; files that were added meanwhile come last.

    Args:
        folder: folder of files; it may be missing.
        use: function of one verified file, called in any thread; may raise one of `FILE_ERRORS`.
        kind: kind that the rows must be of.
        owner: owner that the rows must have.
        on_corruption: handler of each file that cannot be used.

    Raises:
        CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: `on_corruption`
            raised the error about a file.
        ObjectStoreError: the store does not answer; `on_corruption` is not called.
    """

    def open_and_use(path: Location) -> _Result:
        return use(open_verified(path, kind=kind, owner=owner))

    seen: set[str] = set()
    while fresh := [each for each in list_file_entries(folder) if each.name not in seen]:
        seen.update(entry.name for entry in fresh)
        for path, using in _ahead(folder, fresh, open_and_use):
            try:
                result = using.result()
            except FileNotFoundError:
                continue
            except FILE_ERRORS as error:
                on_corruption(path, error)
            else:
                yield result


def read_tables(
    folder: Location,
    *,
    kind: str,
    schema: pa.Schema,
    owner: str = "",
    on_corruption: OnCorruption = raise_on_corruption,
) -> pa.Table:
    """Read the rows of every file of a folder, file after file in the order of their names.

    A row that is in two files is repeated. A nullable column that a file lacks is null; a column
    that `schema` lacks is dropped.

    Args:
        folder: folder of files; if it is missing, the table is empty.
        kind: kind that the rows must be of.
        schema: columns of the result, in order.
        owner: owner that the rows must have.
        on_corruption: handler of each file that cannot be used.

    Raises:
        WrongSchemaError: a column has another type, or is missing and not nullable.
        CorruptFileError: the content of a file is not what was written.
        NewerFormatError: a file was written in a later version of the format.
        MisplacedFileError: a file declares another kind or another owner.
    """
    found = each_file(
        folder,
        lambda file: file.read_as(schema),
        kind=kind,
        owner=owner,
        on_corruption=on_corruption,
    )
    return pa.concat_tables([schema.empty_table(), *found])


def _ahead(
    folder: Location, entries: list[Entry], work: Callable[[Location], _Result]
) -> Iterator[tuple[Location, "Future[_Result]"]]:
    """Yield each file with the work on it, while the work on the next few runs already."""
    with ThreadPoolExecutor(_MAX_AHEAD) as pool:
        waiting: deque[tuple[Entry, Future[_Result]]] = deque()
        try:
            for entry in entries:
                waiting.append((entry, _begin(pool, work, folder, entry)))
                if _is_enough([each for each, _ in waiting]):
                    first, using = waiting.popleft()
                    yield folder / first.name, using
            while waiting:
                first, using = waiting.popleft()
                yield folder / first.name, using
        finally:
            for _, using in waiting:
                using.cancel()


def _begin(
    pool: ThreadPoolExecutor,
    work: Callable[[Location], _Result],
    folder: Location,
    entry: Entry,
) -> "Future[_Result]":
    if isinstance(folder, ObjectPath) or entry.size_bytes > _SMALL_BYTES:
        return pool.submit(work, folder / entry.name)
    # For a small local file, switching threads costs more than the work.
    done: Future[_Result] = Future()
    try:
        done.set_result(work(folder / entry.name))
    except (OSError, FeatureCacheError) as error:
        done.set_exception(error)
    return done


def _is_enough(under_way: list[Entry]) -> bool:
    large = sum(entry.size_bytes > _SMALL_BYTES for entry in under_way)
    return large > _MAX_LARGE_AHEAD or len(under_way) > _MAX_AHEAD
