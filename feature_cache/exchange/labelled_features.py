"""Labelled features that were made elsewhere, checked, and what identifies their rows."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.checks import (
    as_matrix,
    check_digests,
    check_names,
    check_rows,
    check_scale,
)
from feature_cache.exchange.conversions import Column, as_digests, as_labels, as_splits, as_texts
from feature_cache.exchange.errors import InvalidForeignFeaturesError
from feature_cache.vectors import Features

_TAG = b"clip-adapter.feature-row.1"


def row_ids(features: Features) -> tuple[bytes, ...]:
    """For each of n rows, 32 bytes that stand where an image's digest would stand.

    `id = SHA-256(tag, NUL, "<f4" or "<f2", NUL, width in decimal, NUL, the row's bytes)`, with the
    row in little-endian order. Content decides: importing the same values twice stores them once.
    Such an id is NOT the digest of an image file, and no image will ever be found under it.

    Args:
        features: `[n, d]`, float32 or float16, in any byte order and memory layout.
    """
    kind = features.dtype.newbyteorder("<")
    head = b"\0".join([_TAG, kind.str.encode(), str(features.shape[1]).encode(), b""])
    return tuple(
        hashlib.sha256(head + np.ascontiguousarray(row, kind).tobytes()).digest()
        for row in features
    )


_UNIT = 2e-3
"""Normalising in half precision leaves norms within a thousandth of 1."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeatures:
    """The features of n images, d wide, with their labels among c classes.

    Whether the features are raw or normalised cannot be known from them: `have_unit_norms` only
    says that they look normalised. Their raw norms are lost then, and methods that blend before
    they normalise see other proportions. Which encoder made them, and how it preprocessed, cannot
    be known either. Rows may repeat, also with different labels.

    Attributes:
        features: `[n, d]`, float32 or float16.
        labels: `[n]`, int64, 0 to c - 1; classes without rows are allowed.
        class_names: c distinct names.
        image_sha256: n digests of image files, 32 bytes each; or, where none were given, the ids
            of `feature_cache.exchange.labelled_features`, which are no image's digest.
        source: What to call the features, e.g. the name of their file.
        splits: n of "train", "val", "test"; None when nobody said.
        paths: n paths or keys of the images; never opened, only shown.
        text_features: `[c, d]`, one a class, in the order of `class_names`; its precision may
            differ from that of `features`.
        logit_scale: What multiplies the cosines, such as 100; not its logarithm.

    Raises:
        InvalidForeignFeaturesError: They contradict each other, or are no such values.
    """

    features: Features
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    image_sha256: tuple[bytes, ...]
    source: str
    splits: tuple[str, ...] | None = None
    paths: tuple[str, ...] | None = None
    text_features: Features | None = None
    logit_scale: float | None = None

    def __post_init__(self) -> None:
        _check_matrices(self)
        check_names(self.class_names, self.source)
        for what in ("labels", "image_sha256", "splits", "paths"):
            check_rows(getattr(self, what), what, rows=len(self), source=self.source)
        _check_labels(self)
        check_digests(self.image_sha256, self.features, self.source)
        check_scale(self.logit_scale, self.source)

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        """The width of a feature."""
        return int(self.features.shape[1])

    @property
    def have_image_digests(self) -> bool:
        """Whether the rows are identified by images and not by their own bytes."""
        return self.image_sha256 != row_ids(self.features)

    @property
    def have_unit_norms(self) -> bool:
        """Whether every row has norm 1 within 0.002, so that it looks normalised."""
        norms = np.sqrt(np.einsum("nd,nd->n", self.features, self.features, dtype=np.float32))
        return bool((np.abs(norms - 1) <= _UNIT).all())


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundArrays:
    """Arrays as a file held them: nothing is checked, and what is None was not there.

    Attributes:
        features: `[n, d]`.
        labels: `[n]` integers (an array), or class names.
        class_names: `[c]` text.
        splits: `[n]` text.
        image_sha256: uint8 `[n, 32]`, or `[n]` of 32 bytes or of 64 hexadecimal digits.
        paths: `[n]` text.
        text_features: `[c, d]`.
        logit_scale: One number.
    """

    features: npt.NDArray[Any]
    labels: Column
    class_names: Column | None = None
    splits: Column | None = None
    image_sha256: Column | None = None
    paths: Column | None = None
    text_features: npt.NDArray[Any] | None = None
    logit_scale: npt.NDArray[Any] | float | None = None


def take_in(found: FoundArrays, *, source: str) -> LabelledFeatures:
    """Check and convert arrays from elsewhere; docs/exchange.md states every conversion.

    Raises:
        InvalidForeignFeaturesError: They do not make up labelled features; says why.
    """
    features = as_matrix(found.features, "features", source)
    text, names = found.text_features, found.class_names
    names = None if names is None else as_texts(names, "class_names", source)
    labels, class_names = as_labels(found.labels, names, source)
    digests = found.image_sha256
    return LabelledFeatures(
        features=features,
        labels=labels,
        class_names=class_names,
        image_sha256=row_ids(features) if digests is None else as_digests(digests, source),
        source=source,
        splits=None if found.splits is None else as_splits(found.splits, source),
        paths=None if found.paths is None else as_texts(found.paths, "paths", source),
        text_features=None if text is None else as_matrix(text, "text_features", source),
        logit_scale=_as_scale(found.logit_scale, source),
    )


def _as_scale(value: npt.NDArray[Any] | float | None, source: str) -> float | None:
    if value is None:
        return None
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise InvalidForeignFeaturesError(
            source, f"logit_scale is {array.dtype} of shape {list(array.shape)}, expected a number"
        )
    return float(array.reshape(()))


def _check_matrices(foreign: LabelledFeatures) -> None:
    as_matrix(foreign.features, "features", foreign.source)
    if foreign.features.dtype.itemsize not in (2, 4):
        raise InvalidForeignFeaturesError(
            foreign.source, f"features are {foreign.features.dtype}: take_in converts them"
        )
    if foreign.text_features is None:
        return
    text = as_matrix(foreign.text_features, "text_features", foreign.source)
    expected = (len(foreign.class_names), foreign.dim)
    if text.shape != expected:
        raise InvalidForeignFeaturesError(
            foreign.source,
            f"text_features have shape {list(text.shape)}, expected {list(expected)}: one row a "
            "class, as wide as the features; leave them out if they are something else",
        )


def _check_labels(foreign: LabelledFeatures) -> None:
    if foreign.labels.dtype != np.int64:
        raise InvalidForeignFeaturesError(
            foreign.source, f"labels are {foreign.labels.dtype}, expected int64: take_in converts"
        )
    as_labels(foreign.labels, foreign.class_names, foreign.source)
