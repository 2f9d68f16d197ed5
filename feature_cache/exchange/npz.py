"""`.npz` archives of labelled features: zip files of `.npy` arrays."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.atomic_write import check_absent, write_file
from feature_cache.exchange.conversions import SPLITS, Names, resolve_names
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.npy import MAX_BYTES, MAX_HEADER, check_header, npy_bytes

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
_DATE = (1980, 1, 1, 0, 0, 0)  # equal content makes equal bytes, whenever it is written


def read_npz(
    path: Path,
    *,
    names: Names = ARRAY_NAMES,
    class_names: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
) -> LabelledFeatures:
    """Read labelled features from an archive, compressed or not.

    Where no array is called `features`, each split has its own arrays: `train_features`,
    `train_labels`, and so on. Arrays without a role stay unread.

    Args:
        path: the archive.
        names: other names than those of `ARRAY_NAMES`, by role.
        class_names: names in the order of the labels; they override the archive's own.
        max_bytes: limit of all arrays together, by their declared sizes: a small archive can
            declare a great deal.

    Raises:
        InvalidImportError: an array is missing, pickled or malformed, the archive is damaged or
            larger than `max_bytes`, or it does not contain labelled features.
    """
    check_file(path)
    names, given = resolve_names(names, ARRAY_NAMES, path)
    with errors_about(path), zipfile.ZipFile(path) as archive:
        stored = _stored_names(path, archive)
        wanted, splits = _wanted_names(names, given, stored)
        arrays: dict[str, Any] = {}
        for role, parts in wanted.items():
            found = []
            for name in parts:
                found.append(_read(path, archive, name, stored, max_bytes))
                max_bytes -= archive.getinfo(f"{name}.npy").file_size
            arrays[role] = _join(path, role, found)
            if splits and role == "features":
                arrays["splits"] = np.repeat(splits, [len(part) for part in found])
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


def _read(
    path: Path, archive: zipfile.ZipFile, name: str, stored: list[str], max_bytes: int
) -> npt.NDArray[Any]:
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
            f"{what} declares {entry.file_size:,} bytes, {max_bytes:,} are left of what is "
            "allowed: leave arrays out, or allow more with max_bytes",
        )
    with archive.open(entry) as stream:
        check_header(stream, entry.file_size, path, what, max_bytes)
    with archive.open(entry) as stream:
        array: npt.NDArray[Any] = np.lib.format.read_array(
            stream, allow_pickle=False, max_header_size=MAX_HEADER
        )
    return array


def _join(path: Path, role: str, arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    kinds = {(array.dtype.kind.replace("u", "i"), *array.shape[1:]) for array in arrays}
    precisions = {array.dtype.newbyteorder("=") for array in arrays}
    if len(kinds) > 1 or (role == "features" and len(precisions) > 1):
        found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise InvalidImportError(
            path, f"the {role} of its splits differ in type or width ({found}): make them alike"
        )
    return np.concatenate(arrays)
