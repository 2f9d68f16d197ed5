"""Features in a plain `.npy` matrix, with their labels in a file beside it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from feature_cache.exchange.arrays import MAX_BYTES, map_npy, npy_bytes
from feature_cache.exchange.atomic_write import place_file, refuse_existing
from feature_cache.exchange.classes import labels_and_names
from feature_cache.exchange.conversions import Column
from feature_cache.exchange.damage import damage_named
from feature_cache.exchange.errors import ForeignFileError, MissingArrayError, OversizedFileError
from feature_cache.exchange.labelled_features import FoundArrays, LabelledFeatures, take_in

_COLUMNS = {
    "label": "labels",
    "class_name": "row_names",
    "split": "splits",
    "image_sha256": "image_sha256",
    "path": "paths",
}


def read_npy(
    path: Path,
    *,
    labels: Path | None = None,
    class_names: Sequence[str] | None = None,
    source: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> LabelledFeatures:
    """Read a matrix of features and the labels of its rows.

    Args:
        path: The features, a `.npy` file `[n, d]`.
        labels: The labels: `.npy` (`[n]`), `.txt` (one a line) or `.csv` (columns `label` or
            `class_name`, and optionally `split`, `image_sha256`, `path`); by default the one
            that `labels_beside` finds. Whole numbers in text are labels, anything else names.
        class_names: What the numbers mean; overrides a column `class_name`.
        source: What to call the features; the file's name by default.
        max_bytes: The most that either file may take in memory.

    Raises:
        PickledArrayError, OversizedFileError: As `read_npz`.
        MissingArrayError: No labels, or a column is missing.
        ForeignFileError: Damaged, no such file, or not labelled features; names the file.
    """
    with damage_named(path):
        features = np.array(map_npy(path, max_bytes=max_bytes), order="C")
        place = labels or labels_beside(path)
    source = source or path.stem
    with damage_named(place):
        columns = _found_labels(place, max_bytes)
        pairs = (columns.pop("labels", None), columns.pop("row_names", None))
        numbers, names = labels_and_names(*pairs, class_names=class_names, source=source)
    with damage_named(path):
        found = FoundArrays(features=features, labels=numbers, class_names=names, **columns)
        return take_in(found, source=source)


def write_npy(path: Path, foreign: LabelledFeatures, *, overwrite: bool = False) -> Path:
    """Write `path` and, beside it, `<stem>_labels.csv`; text features and logit scale stay out.

    The features come last: where they are, their labels are complete.

    Raises:
        ExistingExportError: One of the two files exists.
        OSError: The disk refused; no features are left behind without their labels.
    """
    beside = path.with_name(f"{path.stem}_labels.csv")
    for each in (path, beside):
        refuse_existing(each, overwrite=overwrite)
    # Old features must not meet new labels, should the writer die between the two.
    path.unlink(missing_ok=True)
    place_file(beside, _csv(foreign), overwrite=overwrite)
    return place_file(path, npy_bytes(foreign.features), overwrite=overwrite)


def labels_beside(path: Path) -> Path:
    """The file of labels that lies beside a file of features, told by its name.

    For `x.npy` that is `x_labels`, for `x_features.npy` or `features.npy` also `x_labels` or
    `labels`; with the ending `.npy`, `.txt` or `.csv`.

    Raises:
        MissingArrayError: There is none, or more than one.
    """
    stems = {f"{path.stem}_labels", path.stem.replace("features", "labels")} - {path.stem}
    candidates = [path.with_name(stem + end) for stem in sorted(stems) for end in _READERS]
    there = [candidate for candidate in candidates if candidate.is_file()]
    if len(there) != 1:
        found = ", ".join(each.name for each in there) or "none of them"
        expected = ", ".join(each.name for each in candidates)
        raise MissingArrayError(
            path, f"its labels are sought in {expected} and {found} is there: say which file it is"
        )
    return there[0]


def _found_labels(path: Path, max_bytes: int) -> dict[str, Any]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ForeignFileError(
            path, f"labels are read from {', '.join(_READERS)}, not from {path.suffix!r}"
        )
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    size = path.stat().st_size
    if size > max_bytes:
        raise OversizedFileError(path, f"it has {size:,} bytes, at most {max_bytes:,} are taken")
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
        raise ForeignFileError(
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


def _csv(foreign: LabelledFeatures) -> bytes:
    names = [foreign.class_names[label] for label in foreign.labels]
    digests = [digest.hex() for digest in foreign.image_sha256]
    columns = {"label": foreign.labels.tolist(), "class_name": names, "image_sha256": digests}
    optional = {"split": foreign.splits, "path": foreign.paths}
    columns |= {name: values for name, values in optional.items() if values is not None}
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return text.getvalue().encode()


_READERS = {".npy": _read_npy_labels, ".txt": _read_txt, ".csv": _read_csv}
