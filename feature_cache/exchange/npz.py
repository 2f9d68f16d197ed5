"""Labelled features in one `.npz` archive: a zip file of `.npy` arrays, none of them pickled."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.arrays import (
    MAX_BYTES,
    check_size,
    npy_bytes,
    read_array,
    read_header,
)
from feature_cache.exchange.atomic_write import place_file, refuse_existing
from feature_cache.exchange.checks import SPLITS
from feature_cache.exchange.damage import damage_named
from feature_cache.exchange.errors import ForeignFileError, MissingArrayError, OversizedFileError
from feature_cache.exchange.labelled_features import FoundArrays, LabelledFeatures, take_in

_BY_SPLIT = ("features", "labels", "image_sha256", "paths")
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The same arrays make the same file, whenever they are written."""


@dataclass(frozen=True)
class ArrayNames:
    """What the arrays of an archive are called; None leaves an optional one unread.

    An optional array of the usual name may be absent; one of a name that you gave may not. Where
    no array is called `features`, each split has its own: `train_features`, `train_labels`, and
    so on, found by the three prefixes.

    Attributes:
        features: `[n, d]` floats.
        labels: `[n]` integers from 0, or class names.
        class_names: `[c]` text.
        splits: `[n]` of "train", "val", "test".
        image_sha256: uint8 `[n, 32]`, 32 bytes a row, or 64 hexadecimal digits a row.
        paths: `[n]` text.
        text_features: `[c, d]` floats.
        logit_scale: One number.
        train: What stands before the names of the train split's arrays; None leaves it unread.
        val: The same for the validation split.
        test: The same for the test split.
    """

    features: str = "features"
    labels: str = "labels"
    class_names: str | None = "class_names"
    splits: str | None = "splits"
    image_sha256: str | None = "image_sha256"
    paths: str | None = "paths"
    text_features: str | None = "text_features"
    logit_scale: str | None = "logit_scale"
    train: str | None = "train_"
    val: str | None = "val_"
    test: str | None = "test_"

    def gave(self, role: str) -> bool:
        """Whether the name of an array is another than the usual one."""
        return bool(getattr(self, role) != getattr(ArrayNames(), role))


def read_npz(
    path: Path,
    *,
    names: ArrayNames = ArrayNames(),
    class_names: Sequence[str] | None = None,
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> LabelledFeatures:
    """Read labelled features; arrays that `names` does not name stay unread.

    Args:
        path: The archive, compressed or not.
        names: What its arrays are called.
        class_names: Overrides the archive's own.
        source: What to call the features; the file's name by default.
        max_bytes: The most that all arrays together may take in memory, as their headers
            declare it: a small archive can declare a great deal.

    Raises:
        MissingArrayError: An array that is needed or named is not there; lists those that are.
        PickledArrayError: One of them holds Python objects.
        OversizedFileError: They declare more than `max_bytes`.
        ForeignFileError: Damaged, no such archive, or not labelled features.
    """
    with damage_named(path), _opened(path, max_bytes) as archive:
        found = _found(archive, names)
        if class_names is not None:
            found = replace(found, class_names=tuple(class_names))
        return take_in(found, source=source or path.stem)


def write_npz(path: Path, foreign: LabelledFeatures, *, overwrite: bool = False) -> Path:
    """Write labelled features under the usual names, uncompressed, and return the path.

    The same features make the same bytes. The content stands in memory once more while it is
    written.

    Raises:
        ExistingExportError: The file exists.
        OSError: The disk refused; nothing is left behind.
    """
    refuse_existing(path, overwrite=overwrite)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in _arrays(foreign).items():
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            with archive.open(entry, "w", force_zip64=True) as stream:
                stream.write(npy_bytes(array))
    return place_file(path, buffer.getbuffer(), overwrite=overwrite)


class _Archive:
    """An open archive that gives arrays until its allowance is used up."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, max_bytes: int) -> None:
        self.path, self._zip, self._allowance = path, archive, max_bytes
        entries = [each.filename for each in archive.infolist()]
        self.names = sorted(name.removesuffix(".npy") for name in entries if name.endswith(".npy"))
        if len(set(self.names)) != len(self.names):
            raise ForeignFileError(path, "two arrays share a name: write it anew")

    def read(self, name: str) -> npt.NDArray[Any]:
        if name not in self.names:
            raise MissingArrayError(
                self.path,
                f"it has no array {name!r}, it has {', '.join(self.names) or 'none'}: say which "
                "array is which",
            )
        entry = self._zip.getinfo(f"{name}.npy")
        # Once for what the zip says and once for what the array says: one of them may lie.
        if entry.file_size > self._allowance:
            raise OversizedFileError(
                self.path,
                f"array {name!r} declares {entry.file_size:,} bytes, {self._allowance:,} are left "
                "of what is allowed: leave arrays out, or allow more with max_bytes",
            )
        with self._zip.open(entry) as opened:
            stream = cast("Any", opened)
            header = read_header(stream, self.path, f"array {name!r}")
            check_size(
                header,
                entry.file_size,
                path=self.path,
                name=f"array {name!r}",
                max_bytes=self._allowance,
            )
            self._allowance -= entry.file_size
            return read_array(stream, header)


@contextmanager
def _opened(path: Path, max_bytes: int) -> Iterator[_Archive]:
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            # Names stand twice. An array of which one name is damaged would else just be missed.
            archive.open(entry).close()
        yield _Archive(path, archive, max_bytes)


def _found(archive: _Archive, names: ArrayNames) -> FoundArrays:
    if names.features in archive.names:
        rows = {role: _optional(archive, names, role) for role in ("splits", *_BY_SPLIT[2:])}
        rows |= {role: archive.read(getattr(names, role)) for role in _BY_SPLIT[:2]}
    else:
        rows = _rows_by_split(archive, names)
    whole = ("class_names", "text_features", "logit_scale")
    return FoundArrays(**cast("Any", rows | {r: _optional(archive, names, r) for r in whole}))


def _optional(archive: _Archive, names: ArrayNames, role: str) -> npt.NDArray[Any] | None:
    name = getattr(names, role)
    if name is None or (name not in archive.names and not names.gave(role)):
        return None
    return archive.read(name)


def _rows_by_split(archive: _Archive, names: ArrayNames) -> dict[str, Any]:
    """The arrays of every split that is there, one split after the other."""
    given = {split: getattr(names, split) for split in SPLITS}
    prefixes = {split: prefix for split, prefix in given.items() if prefix is not None}
    wanted = [
        split
        for split, prefix in prefixes.items()
        if f"{prefix}{names.features}" in archive.names or names.gave(split)
    ]
    if not wanted:
        archive.read(names.features)  # says what there is instead
    parts: dict[str, list[Any]] = {}
    for split in wanted:
        for role in _roles_by_split(archive, names, prefixes[wanted[0]]):
            array = archive.read(f"{prefixes[split]}{getattr(names, role)}")
            parts.setdefault(role, []).append(array)
        parts.setdefault("splits", []).append(np.full(len(parts["features"][-1]), split))
    return {role: _joined(archive.path, role, arrays) for role, arrays in parts.items()}


def _roles_by_split(archive: _Archive, names: ArrayNames, prefix: str) -> list[str]:
    # What the first split has, all must have.
    optional = [
        role
        for role in _BY_SPLIT[2:]
        if getattr(names, role)
        and (names.gave(role) or f"{prefix}{getattr(names, role)}" in archive.names)
    ]
    return [*_BY_SPLIT[:2], *optional]


def _joined(path: Path, role: str, arrays: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    kinds = {(array.dtype.kind.replace("u", "i"), *array.shape[1:]) for array in arrays}
    precisions = {array.dtype.newbyteorder("=") for array in arrays}
    if len(kinds) > 1 or (role == "features" and len(precisions) > 1):
        found = ", ".join(f"{array.dtype} {list(array.shape)}" for array in arrays)
        raise ForeignFileError(
            path, f"the {role} of its splits differ in type or width ({found}): make them alike"
        )
    return np.concatenate(arrays)


def _arrays(foreign: LabelledFeatures) -> dict[str, npt.NDArray[Any]]:
    values = {each.name: getattr(foreign, each.name) for each in fields(ArrayNames)[:8]}
    digests = b"".join(foreign.image_sha256)
    values["image_sha256"] = np.frombuffer(digests, np.uint8).reshape(-1, 32)
    return {name: np.asarray(value) for name, value in values.items() if value is not None}
