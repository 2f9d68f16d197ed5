"""Reading all files of a folder, and what becomes of those that cannot be trusted."""

import secrets
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import (
    CorruptFileError,
    FeatureCacheError,
    NewerFormatError,
    ObjectStoreError,
)
from feature_cache.files import digest_of, is_final
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.paths import Entry, Location, ObjectPath

DAMAGED_SUFFIX = ".damaged"
_SMALL_BYTES = 2**20
_MOST_AHEAD = 8  # files being read, digested and decoded while another is used
_LARGE_AHEAD = 2  # of which large; such a one takes some 300 MiB meanwhile

_Result = TypeVar("_Result")
OnCorruption = Callable[[Location, FeatureCacheError], None]
"""What to do about a file that cannot be trusted: raise, or set it aside and go on."""


def raise_on_corruption(path: Location, error: FeatureCacheError) -> None:  # noqa: ARG001  # an OnCorruption
    """Raise: whoever trains on rows must not do so without knowing that some are missing."""
    raise error


def quarantine_file(path: Location, error: FeatureCacheError) -> None:
    """Rename a file so that it is not read again: its rows count as missing.

    A file in a newer format stays where it is, and unread: another program's rows are no rubbish.
    What another writer has put right in the meantime is put back.
    """
    if isinstance(error, NewerFormatError):
        return
    aside = f"{path.stem}.{secrets.token_hex(4)}{DAMAGED_SUFFIX}"
    try:
        storage.rename(path, aside)
    except FileNotFoundError:  # somebody else was faster
        return
    if isinstance(error, CorruptFileError) and _is_intact(path.parent / aside, path.stem):
        storage.rename(path.parent / aside, path.name)


def each_file(
    folder: Location,
    use: Callable[[VerifiedFile], _Result],
    *,
    kind: str,
    owner: str = "",
    on_corruption: OnCorruption = raise_on_corruption,
) -> Iterator[_Result]:
    """What `use` makes of every verified file of a folder, in the order of their names.

    A file that vanishes meanwhile has been merged into another, and a listing may show neither. So
    the folder is looked at again until there is nothing new; what came meanwhile comes last.

    Args:
        folder: It may be missing.
        use: Takes one file, in any thread; may raise a FeatureCacheError about it.
        kind: What the rows must be.
        owner: Whose they must be.
        on_corruption: Told of every file that cannot be used; it raises, or the file is passed over.

    Raises:
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError, WrongSchemaError: By
            way of `on_corruption`.
        ObjectStoreError: The store does not answer: never a reason to give up a file.
    """

    def open_and_use(path: Location) -> _Result:
        return use(open_verified(path, kind=kind, owner=owner))

    seen: set[str] = set()
    while fresh := [each for each in _list(folder) if each.name not in seen]:
        seen.update(entry.name for entry in fresh)
        for path, using in _ahead(folder, fresh, open_and_use):
            try:
                result = using.result()
            except FileNotFoundError:
                continue
            except ObjectStoreError:  # says nothing about the file
                raise
            except FeatureCacheError as error:
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
    """The rows of every file of a folder, file after file in the order of their names.

    A row that two files hold comes twice. A nullable column that an older file lacks is null
    there; a column that `schema` does not know is left out.

    Args:
        folder: A folder of files; it may be missing, then the table is empty.
        kind: What the rows must be.
        schema: The columns of the answer, in order; files may hold more.
        owner: Whose the rows must be.
        on_corruption: What to do about a file that cannot be trusted.

    Raises:
        WrongSchemaError: A file has a column of another type, or lacks one that cannot be null.
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: As `open_verified`.
    """
    found = each_file(
        folder,
        lambda file: file.read_as(schema),
        kind=kind,
        owner=owner,
        on_corruption=on_corruption,
    )
    return pa.concat_tables([schema.empty_table(), *found])


def _list(folder: Location) -> list[Entry]:
    return [entry for entry in storage.list_entries(folder) if is_final(entry.name)]


def _ahead(
    folder: Location, entries: list[Entry], work: Callable[[Location], _Result]
) -> Iterator[tuple[Location, "Future[_Result]"]]:
    """Each file with the work on it, of which a little is under way at any time."""
    with ThreadPoolExecutor(_MOST_AHEAD) as pool:
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
    # Threads would spend more on taking turns than on a small file of this machine.
    done: Future[_Result] = Future()
    try:
        done.set_result(work(folder / entry.name))
    except (OSError, FeatureCacheError) as error:
        done.set_exception(error)
    return done


def _is_enough(under_way: list[Entry]) -> bool:
    large = sum(entry.size_bytes > _SMALL_BYTES for entry in under_way)
    return large > _LARGE_AHEAD or len(under_way) > _MOST_AHEAD


def _is_intact(aside: Location, digest: str) -> bool:
    try:
        return digest_of(aside) == digest
    except (FileNotFoundError, CorruptFileError):  # gone, or a folder, pipe or link
        return False
