"""`.npz` archives of labelled features: zip files of `.npy` arrays."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.atomic_write import check_absent, write_file
from feature_cache.exchange.conversions import SPLITS, Names, resolve_names
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.limits import LARGER, byte_limit
from feature_cache.exchange.npy import MAX_HEADER, check_header, npy_bytes

ARRAY_NAMES: Names = MappingProxyType(
    {
        "features": "features",
        "labels": "labels",
        "class_names": "class_names",
        "splits": "splits",
        "image_sha256": "image_sha256",
        "paths": "paths",
        "text_features": "text_features",
        "logit_scale": "logit_scale",
        "logit_bias": "logit_bias",
        # prefixes of the arrays of one split
        "train": "train_",
        "val": "val_",
        "test": "test_",
    }
)
"""Usual names by role. An array of a usual name may be absent, one of another name may not."""

_OF_ROWS = ("features", "labels", "image_sha256", "paths")
_BYTES_AT_ONCE = 2**20
_DATE = (1980, 1, 1, 0, 0, 0)  # equal content makes equal bytes, whenever it is written


def read_npz(
    path: Path,
    *,
    names: Names = ARRAY_NAMES,
    class_names: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> LabelledFeatures:
    """Read labelled features from an archive, compressed or not.

    Where no array is called `features`, each split has its own arrays: `train_features`,
    `train_labels`, and so on. Arrays without a role stay unread.

    Args:
        path: the archive.
        names: other names than those of `ARRAY_NAMES`, by role.
        class_names: names in the order of the labels; they override the archive's own.
        max_bytes: limit of all arrays together, by their declared sizes: a small archive can
            declare a great deal. By default what fits into memory.

    Raises:
        InvalidImportError: an array is missing, pickled or malformed, the archive is damaged or
            larger than `max_bytes`, or it does not contain labelled features.
    """
    check_file(path)
    names, given = resolve_names(names, ARRAY_NAMES, path)
    max_bytes = byte_limit(max_bytes)
    with errors_about(path), zipfile.ZipFile(path) as archive:
        stored = _stored_names(path, archive)
        wanted, splits = _wanted_names(names, given, stored)
        arrays: dict[str, Any] = {}
        for role, parts in wanted.items():
            found = []
            for name in parts:
                found.append(_find(path, archive, name, stored, max_bytes))
                max_bytes -= found[-1].n_bytes
            arrays[role] = _read(path, archive, role, found)
            if splits and role == "features":
                arrays["splits"] = np.repeat(splits, [part.shape[0] for part in found])
    if class_names is not None:
        arrays["class_names"] = tuple(class_names)
    with errors_about(path):
        return LabelledFeatures.from_arrays(source=path.stem, **arrays)


def write_npz(path: Path, features: LabelledFeatures, *, overwrite: bool = False) -> Path:
    """Write labelled features under the usual names, uncompressed, and return the path.

    Equal features make equal bytes. They are in memory twice while they are written.

    Raises:
        InvalidInputError: the file exists.
        OSError: the disk is full or fails; nothing is left behind.
    """
    check_absent(path, overwrite=overwrite)
    digests = np.frombuffer(b"".join(features.image_sha256), np.uint8).reshape(-1, 32)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in [name for name in ARRAY_NAMES if name not in SPLITS]:
            value = digests if name == "image_sha256" else getattr(features, name)
            if value is not None:
                entry = zipfile.ZipInfo(f"{name}.npy", date_time=_DATE)
                with archive.open(entry, "w", force_zip64=True) as stream:
                    stream.write(npy_bytes(np.asarray(value)))
    return write_file(path, buffer.getbuffer(), overwrite=overwrite)


def _stored_names(path: Path, archive: zipfile.ZipFile) -> list[str]:
    for entry in archive.infolist():
        # Each name is stored twice. An array with one damaged name would count as absent.
        archive.open(entry).close()
    files = [name for name in archive.namelist() if name.endswith(".npy")]
    if len(set(files)) != len(files):
        raise InvalidImportError(path, "two arrays share a name: write it anew")
    return sorted(name.removesuffix(".npy") for name in files)


def _wanted_names(
    names: Names, given: set[str], stored: list[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """The names of the arrays to read by role: one, or one for each of the splits."""
    prefixes = {split: names[split] for split in SPLITS if names[split] is not None}
    splits = [
        split
        for split, prefix in prefixes.items()
        if names["features"] not in stored
        and (split in given or f"{prefix}{names['features']}" in stored)
    ]
    wanted: dict[str, list[str]] = {}
    for role, name in names.items():
        if name is None or role in SPLITS or (splits and role == "splits"):
            continue
        by_split = splits and role in _OF_ROWS
        parts = [f"{prefixes[split]}{name}" for split in splits] if by_split else [name]
        # What the first split has, all must have.
        if role in {"features", "labels"} | given or parts[0] in stored:
            wanted[role] = parts
    return wanted, splits


@dataclass(frozen=True)
class _Array:
    """An array of the archive whose header was checked, and of which nothing else is read."""

    name: str
    n_bytes: int
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def _find(
    path: Path, archive: zipfile.ZipFile, name: str, stored: list[str], max_bytes: int
) -> _Array:
    if name not in stored:
        raise InvalidImportError(
            path,
            f"it has no array {name!r}, it has {', '.join(stored) or 'none'}: say which array is "
            "which",
        )
    entry, what = archive.getinfo(f"{name}.npy"), f"array {name!r}"
    # The size that the archive declares and the one that the array declares can differ.
    if entry.file_size > max_bytes:
        raise InvalidImportError(
            path,
            f"{what} declares {entry.file_size:,} bytes, {max_bytes:,} are left of what fits into "
            f"memory or was allowed: leave arrays out; {LARGER}",
        )
    with archive.open(entry) as stream:
        header = check_header(stream, entry.file_size, path, what, max_bytes)
    return _Array(name, entry.file_size, *header)


def _read(path: Path, archive: zipfile.ZipFile, role: str, parts: list[_Array]) -> npt.NDArray[Any]:
    """The rows of all parts, streamed into one array, so that no part is in memory twice."""
    _check_alike(path, role, parts)
    if any(part.fortran_order or not part.shape for part in parts):
        arrays = [_read_whole(archive, part) for part in parts]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    dtype = np.result_type(*[part.dtype for part in parts]).newbyteorder("=")
    if role == "features" and dtype == np.float64:
        dtype = np.dtype(np.float32)  # what it would be rounded to later, in half of the memory
    rows = sum(part.shape[0] for part in parts)
    joined: npt.NDArray[Any] = np.empty((rows, *parts[0].shape[1:]), dtype)
    start = 0
    for part in parts:
        target = joined[start : start + part.shape[0]].reshape(-1)
        start += part.shape[0]
        with archive.open(f"{part.name}.npy") as stream:
            _read_into(stream, part, target)
    return joined


def _read_into(stream: IO[bytes], part: _Array, target: npt.NDArray[Any]) -> None:
    stream.read(part.n_bytes - target.size * part.dtype.itemsize)  # the header
    step = max(1, _BYTES_AT_ONCE // part.dtype.itemsize)
    with np.errstate(over="ignore"):  # values beyond float32 become infinite, and are refused
        for start in range(0, target.size, step):
            block = target[start : start + step]
            block[:] = np.frombuffer(stream.read(len(block) * part.dtype.itemsize), part.dtype)
    stream.read(1)  # at the end of the data the archive compares its checksum


def _read_whole(archive: zipfile.ZipFile, part: _Array) -> npt.NDArray[Any]:
    with archive.open(f"{part.name}.npy") as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(
            stream, allow_pickle=False, max_header_size=MAX_HEADER
        )
    return array


def _check_alike(path: Path, role: str, parts: list[_Array]) -> None:
    if len(parts) == 1:
        return
    kinds = {(part.dtype.kind.replace("u", "i"), *part.shape[1:]) for part in parts}
    precisions = {part.dtype.newbyteorder("=") for part in parts}
    if len(kinds) > 1 or (role == "features" and len(precisions) > 1):
        found = ", ".join(f"{part.dtype} {list(part.shape)}" for part in parts)
        raise InvalidImportError(
            path, f"the {role} of its splits differ in type or width ({found}): make them alike"
        )
