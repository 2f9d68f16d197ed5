"""Reading all files of a folder, and what becomes of those that cannot be trusted."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import CorruptFileError, FeatureCacheError, NewerFormatError
from feature_cache.files import digest_of, list_files
from feature_cache.locations import Location
from feature_cache.opening import StoredFile, open_file

__all__ = ["DAMAGED_SUFFIX", "OnDamage", "each_file", "read_tables", "refuse", "set_aside"]

DAMAGED_SUFFIX = ".damaged"
_AHEAD = 2  # files being read and digested while another is used; each may hold 128 MiB

_Result = TypeVar("_Result")
OnDamage = Callable[[Location, FeatureCacheError], None]
"""What to do about a file that cannot be trusted: raise, or set it aside and go on."""


def refuse(path: Location, error: FeatureCacheError) -> None:  # noqa: ARG001  # an OnDamage
    """Raise: whoever trains on rows must not do so without knowing that some are missing."""
    raise error


def set_aside(path: Location, error: FeatureCacheError) -> None:
    """Rename a file so that it is not read again: its rows count as missing.

    A file in a newer format stays where it is, and unread: another program's rows are no rubbish.
    What another writer has put right in the meantime is put back.
    """
    if isinstance(error, NewerFormatError):
        return
    aside = f"{path.stem}.{secrets.token_hex(4)}{DAMAGED_SUFFIX}"
    try:
        storage.move_aside(path, aside)
    except FileNotFoundError:  # somebody else was faster
        return
    if isinstance(error, CorruptFileError) and _is_intact(path.parent / aside, path.stem):
        storage.move_aside(path.parent / aside, path.name)


def each_file(
    folder: Location,
    use: Callable[[StoredFile], _Result],
    *,
    kind: str,
    owner: str = "",
    on_damage: OnDamage = refuse,
) -> Iterator[_Result]:
    """What `use` makes of every verified file of a folder, in the order of their names.

    A file that vanishes meanwhile has been merged into another, so the folder is looked at again.

    Args:
        folder: It may be missing.
        use: Takes one file; may raise a FeatureCacheError about it.
        kind: What the rows must be.
        owner: Whose they must be.
        on_damage: Told of every file that cannot be used; it raises, or the file is passed over.

    Raises:
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError, WrongSchemaError: By
            way of `on_damage`.
    """
    seen: set[str] = set()
    while fresh := [path for path in list_files(folder) if path.name not in seen]:
        vanished = False
        for path, opening in _open_ahead(fresh, kind=kind, owner=owner):
            seen.add(path.name)
            try:
                result = use(opening.result())
            except FileNotFoundError:
                vanished = True
            except FeatureCacheError as error:
                on_damage(path, error)
            else:
                yield result
        if not vanished:
            return


def read_tables(
    folder: Location,
    *,
    kind: str,
    schema: pa.Schema,
    owner: str = "",
    on_damage: OnDamage = refuse,
) -> pa.Table:
    """The rows of every file of a folder, file after file in the order of their names.

    A row that two files hold comes twice. A nullable column that an older file lacks is null
    there; a column that `schema` does not know is left out.

    Args:
        folder: A folder of files; it may be missing, then the table is empty.
        kind: What the rows must be.
        schema: The columns of the answer, in order; files may hold more.
        owner: Whose the rows must be.
        on_damage: What to do about a file that cannot be trusted.

    Raises:
        WrongSchemaError: A file has a column of another type, or lacks one that cannot be null.
        CorruptFileError, NewerFormatError, WrongKindError, WrongOwnerError: As `open_file`.
    """
    found = each_file(
        folder, lambda file: file.read_as(schema), kind=kind, owner=owner, on_damage=on_damage
    )
    return pa.concat_tables([schema.empty_table(), *found])


def _open_ahead(
    paths: list[Location], *, kind: str, owner: str
) -> Iterator[tuple[Location, "Future[StoredFile]"]]:
    """Each file with its opening, of which a few are under way at any time."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: list[tuple[Location, Future[StoredFile]]] = []
        try:
            for path in paths:
                waiting.append((path, pool.submit(open_file, path, kind=kind, owner=owner)))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0)
            while waiting:
                yield waiting.pop(0)
        finally:
            for _, opening in waiting:
                opening.cancel()


def _is_intact(aside: Location, digest: str) -> bool:
    try:
        return digest_of(aside) == digest
    except FileNotFoundError:
        return False
