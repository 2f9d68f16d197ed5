"""Files of others' formats at rest: opaque bytes, named by their digest, verified whenever read."""

import hashlib
import re
from collections.abc import Iterator

import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import CorruptFileError
from feature_cache.files import check_digest
from feature_cache.keys import check_dataset
from feature_cache.paths import Location

_FINAL_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")


def classifier_folder(root: Location, dataset: str) -> Location:
    """Where the classifiers that were promoted for a dataset lie; it may not exist yet.

    Raises:
        UnsafeNameError: The name may not become that of a folder.
    """
    check_dataset(dataset)
    return root / "champions" / dataset


def classifier_folders(root: Location) -> Iterator[Location]:
    """Those of all datasets that have one."""
    for name in storage.list_folders(root / "champions"):
        yield root / "champions" / name


def is_content(name: str) -> bool:
    """Whether a file of this name is complete and meant to be read."""
    return _FINAL_NAME.fullmatch(name) is not None


def write_content(folder: Location, content: bytes) -> Location:
    """Put bytes at rest as `<folder>/<sha256>.safetensors`, in one step and durably.

    The same bytes are the same file; one that is damaged is replaced.

    Raises:
        OSError: The disk or the object store refused; no part of a file is left behind.
    """
    path = folder / f"{hashlib.sha256(content).hexdigest()}.safetensors"
    if _is_intact(path):
        storage.fsync_dir(folder)
    else:
        storage.write_atomic(path, pa.py_buffer(content))
    return path


def read_content(path: Location) -> bytes:
    """The bytes that `write_content` put there, every one as it was.

    Raises:
        CorruptFileError: The digest of the content is not the file's name.
        FileNotFoundError: There is no such file.
    """
    content: bytes = storage.read(path).to_pybytes()
    check_digest(path, hashlib.sha256(content).hexdigest())
    return content


def _is_intact(path: Location) -> bool:
    try:
        read_content(path)
    except (FileNotFoundError, CorruptFileError):
        return False
    return True
