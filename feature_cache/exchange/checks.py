"""What labelled features from elsewhere must keep to."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.errors import InvalidForeignFeaturesError
from feature_cache.feature_table import Features

SPLITS = ("train", "val", "test")
_ROWS_AT_ONCE = 4096
_SAME_IMAGE = 0.01
"""How far two features of one image may lie apart, as a fraction of their norm: half precision
and another batch size move them by a thousandth, another model by much more."""


def as_matrix(values: npt.NDArray[Any], what: str, source: str) -> Features:
    """`values` as a finite matrix `[n, d]` of this machine's float32 or float16, row after row.

    float64 is rounded to float32, the precision of the store; a value beyond float32's range is
    refused. Nothing else is converted.

    Raises:
        InvalidForeignFeaturesError: Another shape or element type, no rows, or not finite.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise InvalidForeignFeaturesError(
            source,
            f"{what} have shape {list(values.shape)}, expected [n, d]: one row an image, at least "
            "one row and one column",
        )
    if values.dtype.kind != "f" or values.dtype.itemsize not in (2, 4, 8):
        raise InvalidForeignFeaturesError(
            source, f"{what} are {values.dtype}, expected float32, float16 or float64: convert them"
        )
    half = values.dtype.itemsize == 2
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite now, and refused below
        matrix: Features = np.ascontiguousarray(values, np.float16 if half else np.float32)
    _check_finite(matrix, what, source)
    return matrix


def check_names(class_names: tuple[str, ...], source: str) -> None:
    """Refuse class names that are empty, hold a NUL, or come twice."""
    check_texts(class_names, "class_names", source)
    repeated = [name for name, times in Counter(class_names).items() if times > 1]
    if repeated or not class_names:
        raise InvalidForeignFeaturesError(
            source,
            f"class_names hold {repeated[0]!r:.80} more than once: name each class once"
            if repeated
            else "there are no class_names: give one a class",
        )


def check_texts(texts: Sequence[str], what: str, source: str) -> None:
    """Refuse text that is empty or holds a NUL, which arrays of text cannot keep."""
    bad = next((text for text in texts if not text or "\0" in text), None)
    if bad is not None:
        raise InvalidForeignFeaturesError(
            source, f"{what} hold {bad!r:.80}, expected text without NUL: correct it"
        )


def check_rows(column: Sequence[Any] | None, what: str, *, rows: int, source: str) -> None:
    """Refuse a column of another length than the features; None is no column."""
    if column is not None and len(column) != rows:
        raise InvalidForeignFeaturesError(
            source, f"{what} have {len(column)} rows, the features {rows}: give one a feature"
        )
    if what == "paths":
        check_texts(column or (), what, source)
    strangers = sorted(set(column or ()) - set(SPLITS)) if what == "splits" else []
    if strangers:
        raise InvalidForeignFeaturesError(
            source, f"splits hold {strangers[0]!r:.80}, expected {', '.join(SPLITS)}: rename them"
        )


def check_digests(digests: tuple[bytes, ...], features: Features, source: str) -> None:
    """Refuse digests that are not 32 bytes, and one digest with two different features."""
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if not isinstance(digest, bytes) or len(digest) != 32:
            raise InvalidForeignFeaturesError(
                source, f"image_sha256 of row {row} is {digest!r:.80}, expected 32 bytes"
            )
        same = first.setdefault(digest, row)
        if same != row and not close_rows(features[[same]], features[[row]]).all():
            raise InvalidForeignFeaturesError(
                source,
                f"rows {same} and {row} have the same image_sha256 and different features: one "
                "image has one feature; leave image_sha256 out if these are other views of it",
            )


def check_scale(logit_scale: float | None, source: str) -> None:
    """Refuse a logit scale that is not a positive number."""
    if logit_scale is not None and not (0 < logit_scale < float("inf")):
        raise InvalidForeignFeaturesError(
            source, f"logit_scale is {logit_scale}, expected a positive number such as 100"
        )


def _check_finite(matrix: Features, what: str, source: str) -> None:
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        sound = np.isfinite(matrix[start : start + _ROWS_AT_ONCE]).all(axis=1)
        if not sound.all():
            raise InvalidForeignFeaturesError(
                source,
                f"row {start + int(sound.argmin())} of {what} is not finite in {matrix.dtype}: "
                "the encoder overflowed, or the file is damaged",
            )


def close_rows(these: Features, those: Features) -> npt.NDArray[np.bool_]:
    """The mask `[n]` of the rows that could be one image's: within 1 % of the norm."""
    near = np.empty(len(these), np.bool_)
    for start in range(0, len(these), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        one, other = these[rows].astype(np.float64), those[rows].astype(np.float64)
        apart = np.linalg.norm(one - other, axis=1)
        near[rows] = apart <= _SAME_IMAGE * np.linalg.norm(one, axis=1)
    return near
