"""Conversion of what files hold to checked features, labels, text and digests.

Every function raises InvalidImportError about `source`, the name of the features.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.errors import InvalidImportError
from feature_cache.feature_table import Features

Column = npt.NDArray[Any] | Sequence[Any]
"""One value a row: a one-dimensional array or a sequence."""
Names = Mapping[str, str | None]
"""Names of arrays or columns by role; None leaves an optional one unread."""

SPLITS = ("train", "val", "test")
_SYNONYMS = {"validation": "val", "valid": "val"}
_DIGEST_BYTES = 32
_ROWS_AT_ONCE = 4096
# The relative distance up to which two features may belong to one image: half precision and another
# batch size move a feature by a thousandth, another model by much more.
_SAME_IMAGE = 0.01


def as_matrix(values: npt.NDArray[Any], what: str, source: str) -> Features:
    """A finite, C-contiguous `[n, d]` float32 or float16 matrix; only float64 is converted."""
    if values.ndim != 2 or 0 in values.shape:
        raise InvalidImportError(
            source,
            f"{what} have shape {list(values.shape)}, expected [n, d]: one row an image, at least "
            "one row and one column",
        )
    if values.dtype.kind != "f" or values.dtype.itemsize not in (2, 4, 8):
        raise InvalidImportError(
            source, f"{what} are {values.dtype}, expected float32, float16 or float64: convert them"
        )
    half = values.dtype.itemsize == 2
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused below
        matrix: Features = np.ascontiguousarray(values, np.float16 if half else np.float32)
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        finite = np.isfinite(matrix[start : start + _ROWS_AT_ONCE]).all(axis=1)
        if not finite.all():
            raise InvalidImportError(
                source,
                f"row {start + int(finite.argmin())} of {what} is not finite in {matrix.dtype}: "
                "the encoder overflowed, or the file is damaged",
            )
    return matrix


def as_texts(values: Column, what: str, source: str) -> tuple[str, ...]:
    """Non-empty text without NUL from arrays of unicode or UTF-8 bytes, or from strings."""
    if isinstance(values, np.ndarray) and (values.ndim != 1 or values.dtype.kind not in "US"):
        raise InvalidImportError(
            source,
            f"{what} is {values.dtype} of shape {list(values.shape)}, expected a list of text",
        )
    try:
        texts = tuple(map(_text, _items(values)))
    except (ValueError, TypeError) as error:
        raise InvalidImportError(
            source, f"{what} holds what is no text ({error}): write it as unicode or UTF-8"
        ) from error
    bad = next((text for text in texts if not text or "\0" in text), None)
    if bad is not None:  # arrays of text cannot hold it
        raise InvalidImportError(
            source, f"{what} hold {bad!r:.80}, expected text without NUL: correct it"
        )
    return texts


def as_class_names(values: Column, source: str) -> tuple[str, ...]:
    """Distinct class names."""
    names = as_texts(values, "class_names", source)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InvalidImportError(
            source, f"class_names hold {repeated[0]!r:.80} more than once: name each class once"
        )
    return names


def as_splits(values: Column, source: str) -> tuple[str, ...]:
    """Split names, with "validation" and "valid" read as "val"."""
    splits = tuple(_SYNONYMS.get(name, name) for name in as_texts(values, "splits", source))
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise InvalidImportError(
            source, f"splits hold {unknown[0]!r:.80}, expected {', '.join(SPLITS)}: rename them"
        )
    return splits


def as_digests(values: Column, source: str) -> tuple[bytes, ...]:
    """Digests from uint8 `[n, 32]`, from 32 bytes or from 64 hexadecimal digits a row."""
    if isinstance(values, np.ndarray) and values.dtype in (np.uint8, np.dtype("S32")):
        row_shape = (_DIGEST_BYTES,) if values.dtype == np.uint8 else ()
        if values.ndim and values.shape[1:] == row_shape:
            # numpy drops trailing zeros of bytes of fixed length, so the buffer is cut instead.
            raw = np.ascontiguousarray(values).tobytes()
            return tuple(raw[at : at + _DIGEST_BYTES] for at in range(0, len(raw), _DIGEST_BYTES))
    elif not isinstance(values, np.ndarray) and all(isinstance(each, bytes) for each in values):
        return tuple(values)
    digits = as_texts(values, "image_sha256", source)
    return tuple(_digest(each, row, source) for row, each in enumerate(digits))


def as_labels(
    labels: Column | None,
    row_names: Column | None,
    class_names: tuple[str, ...] | None,
    source: str,
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels `[n]` from 0 and the class names they index.

    Args:
        labels: integers or class names; `row_names` where None.
        row_names: class name of each row, which names integers where `class_names` is None.
        class_names: names in the order of the labels; by default the distinct names among the
            labels, sorted by code point.
        source: name of the features.
    """
    labels = row_names if labels is None else labels
    if labels is None:
        raise InvalidImportError(
            source, "there is a column neither of labels nor of class names: add one, or name it"
        )
    if not isinstance(labels, np.ndarray) or labels.dtype.kind in "US":
        return _labels_of_names(as_texts(labels, "labels", source), class_names, source)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidImportError(
            source,
            f"labels are {labels.dtype} of shape {list(labels.shape)}, expected one integer or one "
            "class name a row: take the argmax of one-hot labels, and round none",
        )
    if class_names is None:
        class_names = _names_of_labels(labels, row_names, source)
    # Before the conversion, in which a large unsigned number would turn negative.
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
    if lowest < 0 or highest >= len(class_names):
        raise InvalidImportError(
            source,
            f"labels go from {lowest} to {highest}, expected 0 to {len(class_names) - 1} for "
            f"{len(class_names)} class names: number the classes from 0, or name them all",
        )
    return np.ascontiguousarray(labels, np.int64), class_names


def as_bias(value: npt.NDArray[Any] | float, source: str) -> float:
    """A finite logit bias."""
    bias = _as_number(value, "logit_bias", source)
    if not np.isfinite(bias):
        raise InvalidImportError(
            source, f"logit_bias is {bias}, expected a finite number such as -10"
        )
    return bias


def as_scale(value: npt.NDArray[Any] | float, source: str) -> float:
    """A positive, finite logit scale."""
    scale = _as_number(value, "logit_scale", source)
    if not 0 < scale < float("inf"):
        raise InvalidImportError(
            source, f"logit_scale is {scale}, expected a positive number such as 100"
        )
    return scale


def _as_number(value: npt.NDArray[Any] | float, what: str, source: str) -> float:
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise InvalidImportError(
            source, f"{what} is {array.dtype} of shape {list(array.shape)}, expected a number"
        )
    return float(array.reshape(()))


def check_lengths(columns: Mapping[str, Sequence[Any] | None], n: int, source: str) -> None:
    """Check that every column that is not None has n rows."""
    for what, column in columns.items():
        if column is not None and len(column) != n:
            raise InvalidImportError(
                source, f"{what} have {len(column)} rows, the features {n}: give one a feature"
            )


def check_digests(digests: Sequence[bytes], features: Features, source: str) -> None:
    """Check that digests have 32 bytes, and that rows of one digest have one feature."""
    first: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        if len(digest) != _DIGEST_BYTES:
            raise InvalidImportError(
                source, f"image_sha256 of row {row} is {digest!r:.80}, expected 32 bytes"
            )
        same = first.setdefault(digest, row)
        if same != row and not close_rows(features[[same]], features[[row]]).all():
            raise InvalidImportError(
                source,
                f"rows {same} and {row} have the same image_sha256 and different features: one "
                "image has one feature; leave image_sha256 out if these are other views of it",
            )


def close_rows(these: Features, those: Features) -> npt.NDArray[np.bool_]:
    """The mask `[n]` of rows that can belong to one image: within 1 % of the norm."""
    close = np.empty(len(these), np.bool_)
    for start in range(0, len(these), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        one, other = these[rows].astype(np.float64), those[rows].astype(np.float64)
        distance = np.linalg.norm(one - other, axis=1)
        close[rows] = distance <= _SAME_IMAGE * np.linalg.norm(one, axis=1)
    return close


def resolve_names(names: Names, usual: Names, path: Path) -> tuple[Names, set[str]]:
    """The name for every role, and the roles whose names are not the usual ones."""
    unknown = sorted(set(names) - set(usual))
    if unknown:
        raise InvalidImportError(
            path, f"there is no {unknown[0]!r:.80} to name, only {', '.join(usual)}"
        )
    unread = [role for role in ("features", "labels") if not names.get(role, "usual")]
    if unread:
        raise InvalidImportError(path, f"{unread[0]} cannot be left unread: name it")
    return {**usual, **names}, {role for role, name in names.items() if name != usual[role]}


def _items(values: Column) -> list[Any]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "U":
        # For a code point beyond Unicode tolist() would fail with a SystemError.
        order = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
        codes = np.ascontiguousarray(values).view(order)
        if codes.size and codes.max() > sys.maxunicode:
            raise ValueError(f"code point {codes.max():#x}")
    return list(values.tolist() if isinstance(values, np.ndarray) else values)


def _text(item: object) -> str:
    text = item.decode() if isinstance(item, bytes) else item
    if not isinstance(text, str):
        raise TypeError(f"{item!r:.40}")
    text.encode()  # half of a surrogate pair raises UnicodeEncodeError, a ValueError
    return str(text)


def _digest(digits: str, row: int, source: str) -> bytes:
    # bytes.fromhex alone would skip blanks.
    if len(digits) == 2 * _DIGEST_BYTES and digits.isalnum():
        try:
            return bytes.fromhex(digits)
        except ValueError:
            pass
    raise InvalidImportError(
        source,
        f"image_sha256 of row {row} is {digits!r:.80}, expected the 64 hexadecimal digits (or "
        "32 bytes) of a SHA-256: correct it or leave the whole array out",
    )


def _labels_of_names(
    labels: tuple[str, ...], class_names: tuple[str, ...] | None, source: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    names = tuple(sorted(set(labels))) if class_names is None else class_names
    positions = {name: position for position, name in enumerate(names)}
    unknown = sorted(set(labels) - set(positions))
    if unknown:
        raise InvalidImportError(
            source,
            f"labels name {len(unknown)} classes that class_names lacks, the first is "
            f"{unknown[0]!r:.80}: add them or correct the labels",
        )
    return np.array([positions[label] for label in labels], np.int64), names


def _names_of_labels(
    labels: npt.NDArray[Any], row_names: Column | None, source: str
) -> tuple[str, ...]:
    if row_names is None:
        raise InvalidImportError(
            source, "labels are numbers and no class names come with them: give class_names"
        )
    known: dict[int, Any] = {}
    for label, name in zip(labels.tolist(), row_names, strict=True):
        if known.setdefault(label, name) != name:
            raise InvalidImportError(
                source,
                f"label {label} is called {known[label]!r:.80} and {name!r:.80}: name it once",
            )
    if sorted(known) != list(range(len(known))):
        raise InvalidImportError(
            source,
            "some classes below the highest label have no rows, so that their names are unknown: "
            "give class_names",
        )
    return as_class_names([known[label] for label in sorted(known)], source)
