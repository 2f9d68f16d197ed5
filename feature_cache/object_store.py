"""Operations on objects in S3 and other object stores, through pyarrow's clients."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa
from pyarrow import fs

from feature_cache.errors import ObjectStoreError
from feature_cache.paths import Entry, ObjectPath

# With it, an object below 10 MB is uploaded by one request instead of the three of an upload in parts.
_ONE_REQUEST = "allow_delayed_open"


def write_atomic(path: ObjectPath, content: pa.Buffer, *, what: str = "") -> None:
    """Write an object in one step: it is complete when this returns, or absent.

    Object stores show an object when its upload is complete, so that no rename is needed.

    Args:
        path: the object.
        content: the bytes of the object.
        what: name of the content in messages; the path alone if empty.

    Raises:
        ObjectStoreError: the store cannot be reached, or refuses.
    """
    # Leaving a stream by an exception completes the upload with what was written so far. Ctrl-C
    # interrupts the main thread only, so the upload runs in another one.
    with _errors_converted(path, what), ThreadPoolExecutor(1) as pool:
        # A pool that is interrupted while its thread starts does not wait for it: start it idle.
        pool.submit(int).result()
        pool.submit(_upload, path, content).result()


def read(path: ObjectPath) -> pa.Buffer:
    """Read an object into memory.

    Raises:
        FileNotFoundError: the object does not exist.
        ObjectStoreError: the store cannot be reached, or refuses.
    """
    with _errors_converted(path), _client(path).open_input_file(_key(path)) as file:
        return file.read_buffer()


def read_end(path: ObjectPath, size_bytes: int) -> pa.Buffer:
    """Read at most the last `size_bytes` bytes of an object.

    Raises:
        FileNotFoundError: the object does not exist.
        ObjectStoreError: the store cannot be reached, or refuses.
    """
    with _errors_converted(path), _client(path).open_input_file(_key(path)) as file:
        file.seek(max(0, file.size() - size_bytes))
        return file.read_buffer()


def list_entries(folder: ObjectPath) -> list[Entry]:
    """List the objects directly below a prefix; empty if the prefix or bucket does not exist."""
    return [
        Entry(found.base_name, found.size, found.mtime.timestamp() if found.mtime else 0.0)
        for found in _list(folder)
        if found.type == fs.FileType.File
    ]


def list_folders(folder: ObjectPath) -> list[str]:
    """List the names directly below a prefix that are prefixes themselves."""
    return [found.base_name for found in _list(folder) if found.type == fs.FileType.Directory]


def is_folder(folder: ObjectPath) -> bool:
    """Return whether the path is a bucket or a prefix with objects below it."""
    with _errors_converted(folder):
        found = _client(folder).get_file_info(_key(folder))
    return bool(found.type == fs.FileType.Directory)


def rename(path: ObjectPath, to: ObjectPath) -> None:
    """Copy an object and remove the original.

    Raises:
        FileNotFoundError: the object does not exist.
    """
    with _errors_converted(path):
        _client(path).move(_key(path), _key(to))


def remove(path: ObjectPath) -> None:
    """Remove an object.

    Raises:
        FileNotFoundError: the object does not exist.
    """
    with _errors_converted(path):
        _client(path).delete_file(_key(path))


def _upload(path: ObjectPath, content: pa.Buffer) -> None:
    with _client(path).open_output_stream(_key(path)) as stream:
        stream.write(content)


def _list(folder: ObjectPath) -> list[Any]:
    selector = fs.FileSelector(_key(folder), allow_not_found=True)
    with _errors_converted(folder):
        found: list[Any] = _client(folder).get_file_info(selector)
    return found


def _key(path: ObjectPath) -> str:
    """Path as the client expects it: bucket and key."""
    return f"{_open_store(path.store, path.options)[1]}/{path.key}".rstrip("/")


def _client(path: ObjectPath) -> Any:
    return _open_store(path.store, path.options)[0]


@cache
def _open_store(store: str, options: str) -> tuple[Any, str]:
    if store.startswith("s3:") and _ONE_REQUEST not in options:
        options += f"{'&' if options else '?'}{_ONE_REQUEST}=true"
    try:
        client, bucket = fs.FileSystem.from_uri(f"{store}/{options}")
    except (pa.ArrowException, OSError) as error:
        raise ObjectStoreError(f"{store} cannot be opened: {error}") from error
    return client, bucket.rstrip("/")


@contextmanager
def _errors_converted(path: ObjectPath, what: str = "") -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ObjectStoreError(
            f"{what and f'{what} in '}{path} cannot be reached: {error}; check the bucket, the credentials and the endpoint"
        ) from error
