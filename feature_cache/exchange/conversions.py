"""Names, splits, digests and labels as files hold them, brought to the one form used here."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.errors import InvalidForeignFeaturesError

Column = npt.NDArray[Any] | Sequence[Any]
"""One value a row: a one-dimensional array or a sequence."""

_SPLITS = {"validation": "val", "valid": "val"}
_DIGEST_BYTES = 32


def as_texts(values: Column, what: str, source: str) -> tuple[str, ...]:
    """Text from an array of unicode, of UTF-8 bytes, or from a sequence of strings.

    Raises:
        InvalidForeignFeaturesError: Not one-dimensional, not text, or not valid text.
    """
    array = values if isinstance(values, np.ndarray) else None
    if array is not None and (array.ndim != 1 or array.dtype.kind not in "US"):
        raise InvalidForeignFeaturesError(
            source,
            f"{what} is {array.dtype} of shape {list(array.shape)}, expected a list of text",
        )
    try:
        items = list(values) if array is None else _items(array)
        return tuple(_text(item) for item in items)
    except (ValueError, TypeError) as error:  # no code point, no UTF-8, no text at all
        raise InvalidForeignFeaturesError(
            source, f"{what} holds what is no text ({error}): write it as unicode or UTF-8"
        ) from error


def as_splits(values: Column, source: str) -> tuple[str, ...]:
    """Split names, with "validation" and "valid" read as "val"; raises as `as_texts`."""
    return tuple(_SPLITS.get(name, name) for name in as_texts(values, "splits", source))


def as_digests(values: Column, source: str) -> tuple[bytes, ...]:
    """Image digests of 32 bytes from uint8 `[n, 32]`, bytes of 32, or 64 hexadecimal digits.

    Raises:
        InvalidForeignFeaturesError: Anything else.
    """
    if isinstance(values, np.ndarray) and values.dtype in (np.uint8, np.dtype("S32")):
        # Bytes of fixed length lose their trailing zeros one by one, so they are cut by hand.
        raw = np.ascontiguousarray(values).tobytes()
        well_formed = values.shape[1:] == ((_DIGEST_BYTES,) if values.dtype == np.uint8 else ())
        if values.ndim and well_formed:
            return tuple(raw[at : at + _DIGEST_BYTES] for at in range(0, len(raw), _DIGEST_BYTES))
    elif not isinstance(values, np.ndarray) and all(isinstance(each, bytes) for each in values):
        return tuple(values)
    digits = as_texts(values, "image_sha256", source)
    return tuple(_digest(each, row, source) for row, each in enumerate(digits))


def as_labels(
    labels: Column, class_names: tuple[str, ...] | None, source: str
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Labels `[n]` from 0 and the class names they index, from numbers or from class names.

    Labels given as text are looked up in `class_names`; without these, the distinct labels in
    the order of their code points are the class names.

    Raises:
        InvalidForeignFeaturesError: Neither integers nor text, out of range, an unknown name, or
            numbers without class names.
    """
    if not isinstance(labels, np.ndarray):
        return _labels_of_names(as_texts(labels, "labels", source), class_names, source)
    if labels.ndim != 1 or labels.dtype.kind not in "iuUS":
        raise InvalidForeignFeaturesError(
            source,
            f"labels are {labels.dtype} of shape {list(labels.shape)}, expected one integer or one "
            "class name a row: take the argmax of one-hot labels, and round none",
        )
    if labels.dtype.kind in "US":
        return _labels_of_names(as_texts(labels, "labels", source), class_names, source)
    if class_names is None:
        raise InvalidForeignFeaturesError(
            source, "labels are numbers and no class names come with them: give class_names"
        )
    return _checked_numbers(labels, class_names, source), class_names


def _items(array: npt.NDArray[Any]) -> list[Any]:
    if array.dtype.kind == "U":
        # Beyond Unicode, numpy fails with a SystemError.
        codes = np.ascontiguousarray(array).view(
            np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        )
        if codes.size and codes.max() > sys.maxunicode:
            raise ValueError(f"code point {codes.max():#x}")
    return list(array.tolist())


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
    raise InvalidForeignFeaturesError(
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
        raise InvalidForeignFeaturesError(
            source,
            f"labels name {len(unknown)} classes that class_names lacks, the first is "
            f"{unknown[0]!r:.80}: add them or correct the labels",
        )
    return np.array([positions[label] for label in labels], np.int64), names


def _checked_numbers(
    labels: npt.NDArray[Any], class_names: tuple[str, ...], source: str
) -> npt.NDArray[np.int64]:
    # Before the conversion, in which a large unsigned number would turn negative.
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
    if lowest < 0 or highest >= len(class_names):
        raise InvalidForeignFeaturesError(
            source,
            f"labels go from {lowest} to {highest}, expected 0 to {len(class_names) - 1} for "
            f"{len(class_names)} class names: number the classes from 0, or name them all",
        )
    return np.ascontiguousarray(labels, np.int64)
