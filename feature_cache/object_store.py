"""Objects in a store that puts each in one step: S3 and its like, through pyarrow's clients."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyarrow as pa
from pyarrow import fs

from feature_cache.errors import ObjectStoreError
from feature_cache.paths import Entry, ObjectPath

# An object below 10 MB is put by a single request, not by the three of an upload in parts.
_ONE_REQUEST = "allow_delayed_open"


def write_atomic(path: ObjectPath, content: pa.Buffer) -> None:
    """Put an object in one step: it is there completely, once this returns, or not at all.

    Object stores make an object visible when its upload is complete; they have no rename and need
    none.

    Raises:
        ObjectStoreError: The store refused.
    """
    # Leaving a stream by an exception completes the upload with what was written so far. Ctrl-C
    # reaches the main thread alone: another one brings to its end what it began.
    with _named(path), ThreadPoolExecutor(1) as pool:
        # Interrupted while its thread starts, a pool forgets to wait for it: start it with nothing.
        pool.submit(int).result()
        pool.submit(_put, path, content).result()


def read(path: ObjectPath) -> pa.Buffer:
    """The bytes of an object.

    Raises:
        FileNotFoundError: There is no such object.
        ObjectStoreError: The store refused.
    """
    with _named(path), _client(path).open_input_file(_inside(path)) as file:
        return file.read_buffer()


def read_end(path: ObjectPath, size_bytes: int) -> pa.Buffer:
    """The last bytes of an object, fewer where it is shorter; raises as `read`."""
    with _named(path), _client(path).open_input_file(_inside(path)) as file:
        file.seek(max(0, file.size() - size_bytes))
        return file.read_buffer()


def list_entries(folder: ObjectPath) -> list[Entry]:
    """The objects directly below a prefix; none where there is none, not even a bucket."""
    return [
        Entry(found.base_name, found.size, found.mtime.timestamp() if found.mtime else 0.0)
        for found in _list(folder)
        if found.type == fs.FileType.File
    ]


def list_folders(folder: ObjectPath) -> list[str]:
    """The names directly below a prefix that have names below them."""
    return [found.base_name for found in _list(folder) if found.type == fs.FileType.Directory]


def is_folder(folder: ObjectPath) -> bool:
    """Whether anything lies below a prefix, or it is a bucket."""
    with _named(folder):
        found = _client(folder).get_file_info(_inside(folder))
    return bool(found.type == fs.FileType.Directory)


def move(path: ObjectPath, to: ObjectPath) -> None:
    """Copy an object and remove the original; FileNotFoundError where there is none."""
    with _named(path):
        _client(path).move(_inside(path), _inside(to))


def remove(path: ObjectPath) -> None:
    """Remove an object; FileNotFoundError where there is none."""
    with _named(path):
        _client(path).delete_file(_inside(path))


def _put(path: ObjectPath, content: pa.Buffer) -> None:
    with _client(path).open_output_stream(_inside(path)) as stream:
        stream.write(content)


def _list(folder: ObjectPath) -> list[Any]:
    selector = fs.FileSelector(_inside(folder), allow_not_found=True)
    with _named(folder):
        found: list[Any] = _client(folder).get_file_info(selector)
    return found


def _inside(path: ObjectPath) -> str:
    """The path as its client spells it: bucket and key."""
    return f"{_opened(path.store, path.options)[1]}/{path.key}".rstrip("/")


def _client(path: ObjectPath) -> Any:
    return _opened(path.store, path.options)[0]


@cache
def _opened(store: str, options: str) -> tuple[Any, str]:
    if store.startswith("s3:") and _ONE_REQUEST not in options:
        options += f"{'&' if options else '?'}{_ONE_REQUEST}=true"
    try:
        client, bucket = fs.FileSystem.from_uri(f"{store}/{options}")
    except (pa.ArrowException, OSError) as error:
        raise ObjectStoreError(f"{store} cannot be opened: {error}") from error
    return client, bucket.rstrip("/")


@contextmanager
def _named(path: ObjectPath) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ObjectStoreError(
            f"{path} cannot be reached: {error}; check the bucket, the credentials and the endpoint"
        ) from error
