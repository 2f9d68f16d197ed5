"""`.npy` files: arrays of any reader, and a matrix of features with its labels in a file beside it.

numpy's own reader is used, without pickle, after a check of the header: it may be up to 10,000
bytes long, the array plain, at most three-dimensional, and exactly as long as the data. The format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.atomic_write import check_absent, write_file
from feature_cache.exchange.conversions import Column
from feature_cache.exchange.errors import InvalidImportError, check_file, errors_about
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.limits import LARGER, byte_limit

MAX_HEADER = 10_000

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_COLUMNS = {
    "label": "labels",
    "class_name": "row_names",
    "split": "splits",
    "image_sha256": "image_sha256",
    "path": "paths",
}


def check_header(
    stream: IO[bytes], n_stored: int, path: Path, name: str, max_bytes: int
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Check the header of an array before any of its data is read.

    Args:
        stream: the array, at its first byte.
        n_stored: number of bytes of header and data together.
        path: file to name in errors.
        name: name of the array in errors.
        max_bytes: largest array that is accepted.

    Returns:
        Its shape, whether it is in Fortran order, and its element type.

    Raises:
        InvalidImportError: the array is malformed, pickled, of another type, not as long as its
            header declares, or larger than `max_bytes`.
    """
    head = io.BytesIO(stream.read(MAX_HEADER))  # numpy would read a header of any length
    with errors_about(path, name):
        version = np.lib.format.read_magic(head)
        if version not in _HEADER_READERS:
            raise ValueError(f"version {version[0]} of .npy, expected version 1 or 2")
        shape, fortran_order, dtype = _HEADER_READERS[version](head, max_header_size=MAX_HEADER)
    problem = _find_problem(shape, dtype, n_stored - head.tell(), max_bytes)
    if problem:
        raise InvalidImportError(path, f"{name} {problem}")
    return shape, fortran_order, dtype


def map_npy(path: Path, *, max_bytes: int | None = None) -> npt.NDArray[Any]:
    """Map a `.npy` file, which must not change while the read-only array is used.

    Raises:
        InvalidImportError: the file is missing, or its header fails `check_header`.
    """
    check_file(path)
    with path.open("rb") as stream:
        check_header(stream, path.stat().st_size, path, "the file", byte_limit(max_bytes))
    array: npt.NDArray[Any] = np.lib.format.open_memmap(path, mode="r", max_header_size=MAX_HEADER)
    return array


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """Serialize an array as `.npy`; never pickled, so an array of objects is a ValueError."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_npy(
    path: Path,
    *,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    max_bytes: int | None = None,
) -> LabelledFeatures:
    """Read a matrix of features and the labels of its rows.

    Args:
        path: the features, a `.npy` file `[n, d]`.
        labels: file of the labels: `.npy` (`[n]`), `.txt` (one a line) or `.csv` (columns `label`
            or `class_name`, and optionally `split`, `image_sha256`, `path`); by default the one
            that `labels_beside` finds. Whole numbers in text are labels, anything else names.
        class_names: names in the order of the labels; they override a column `class_name`.
        max_bytes: limit of the size of either file; what fits into memory by default.

    Raises:
        InvalidImportError: a file is missing, damaged, pickled, larger than `max_bytes`, or does
            not contain labelled features.
    """
    max_bytes = byte_limit(max_bytes)
    with errors_about(path):
        features = np.array(map_npy(path, max_bytes=max_bytes), order="C")
        beside = labels or labels_beside(path)
    with errors_about(beside):
        columns = _read_labels(beside, max_bytes)
    with errors_about(path):
        return LabelledFeatures.from_arrays(
            source=path.stem, features=features, class_names=class_names, **columns
        )


def write_npy(path: Path, features: LabelledFeatures, *, overwrite: bool = False) -> Path:
    """Write `path` and, beside it, `<stem>_labels.csv`, without text features, logit scale and bias.

    The features are written last: where they exist, their labels are complete.

    Raises:
        InvalidInputError: one of the two files exists.
        OSError: the disk is full or fails; no features are left behind without labels.
    """
    beside = path.with_name(f"{path.stem}_labels.csv")
    for each in (path, beside):
        check_absent(each, overwrite=overwrite)
    # A writer that dies between the two files must not leave old features beside new labels.
    path.unlink(missing_ok=True)
    write_file(beside, _csv(features), overwrite=overwrite)
    return write_file(path, npy_bytes(features.features), overwrite=overwrite)


def labels_beside(path: Path) -> Path:
    """Find the file of labels beside a file of features by its name.

    For `x.npy` that is `x_labels`, for `x_features.npy` or `features.npy` also `x_labels` or
    `labels`; with the suffix `.npy`, `.txt` or `.csv`.

    Raises:
        InvalidImportError: there is none, or more than one.
    """
    stems = {f"{path.stem}_labels", path.stem.replace("features", "labels")} - {path.stem}
    candidates = [path.with_name(stem + end) for stem in sorted(stems) for end in _LABEL_READERS]
    existing = [candidate for candidate in candidates if candidate.is_file()]
    if len(existing) != 1:
        found = ", ".join(each.name for each in existing) or "none of them"
        expected = ", ".join(each.name for each in candidates)
        raise InvalidImportError(
            path, f"its labels are sought in {expected} and {found} is there: say which file it is"
        )
    return existing[0]


def _find_problem(
    shape: tuple[int, ...], dtype: np.dtype[Any], n_data: int, max_bytes: int
) -> str | None:
    n_bytes = math.prod(shape) * dtype.itemsize
    if dtype.kind == "O":
        return (
            "holds pickled Python objects, which run code when they are read: write it as plain "
            "numbers or text, e.g. names as np.array(names, dtype=str)"
        )
    if dtype.kind not in "biufUS" or not dtype.itemsize:
        return (
            f"has element type {dtype!s:.80}, expected plain integers, floats or text: write "
            "records and raw bytes as separate arrays"
        )
    if len(shape) > 3 or any(type(each) is not int or each < 0 for each in shape):
        return f"has shape {shape!r:.80}, expected up to three dimensions: write it anew"
    if n_bytes > max_bytes:
        return f"declares {n_bytes:,} bytes, at most {max_bytes:,} are taken: {LARGER}"
    if n_bytes != n_data:
        return (
            f"has {n_data:,} bytes of data, its header declares {n_bytes:,}: it is cut short or "
            "damaged, copy it again"
        )
    return None


def _read_labels(path: Path, max_bytes: int) -> dict[str, Any]:
    reader = _LABEL_READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidImportError(
            path, f"labels are read from {', '.join(_LABEL_READERS)}, not from {path.suffix!r}"
        )
    check_file(path, max_bytes=max_bytes)
    return reader(path)


def _read_npy_labels(path: Path) -> dict[str, Any]:
    return {"labels": np.array(map_npy(path))}


def _read_txt(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8-sig")
    return {"labels": _numbers_or_names(text.removesuffix("\n").split("\n"))}


def _read_csv(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    if not rows or any(None in row or None in row.values() for row in rows):
        raise InvalidImportError(
            path, "it has no rows, or rows longer or shorter than its first line: write it anew"
        )
    columns: dict[str, Any] = {
        role: [row[name] for row in rows] for name, role in _COLUMNS.items() if name in rows[0]
    }
    if "labels" in columns:
        columns["labels"] = _numbers_or_names(columns["labels"])
    return columns


def _numbers_or_names(values: list[str]) -> Column:
    if all(value.isascii() and value.isdigit() and len(value) < 19 for value in values):
        return np.array([int(value) for value in values], np.int64)
    return values


def _csv(features: LabelledFeatures) -> bytes:
    columns = {
        "label": features.labels.tolist(),
        "class_name": [features.class_names[label] for label in features.labels],
        "image_sha256": [digest.hex() for digest in features.image_sha256],
        "split": features.splits,
        "path": features.paths,
    }
    given = {name: values for name, values in columns.items() if values is not None}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(given)
    writer.writerows(zip(*given.values(), strict=True))
    return text.getvalue().encode()


_LABEL_READERS = {".npy": _read_npy_labels, ".txt": _read_txt, ".csv": _read_csv}
