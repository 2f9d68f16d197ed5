"""Labelled features: the type that every reader returns and every writer takes."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache.exchange.conversions import (
    Column,
    as_bias,
    as_class_names,
    as_digests,
    as_labels,
    as_matrix,
    as_scale,
    as_splits,
    as_texts,
    check_digests,
    check_lengths,
)
from feature_cache.exchange.errors import InvalidImportError
from feature_cache.exchange.limits import check_rows
from feature_cache.feature_table import Features
from feature_cache.features import FeatureStore

_ID_TAG = b"clip-adapter.feature-row.1"
_ROWS_AT_ONCE = 4096
_UNIT_TOLERANCE = 2e-3  # normalising in half precision leaves norms within a thousandth of 1


def row_ids(features: Features) -> tuple[bytes, ...]:
    """For each row, 32 bytes that take the place of an image's digest where none is known.

    `id = SHA-256(tag, NUL, "<f4" or "<f2", NUL, width in decimal, NUL, the row's bytes)`, with the
    row in little-endian order: the same values imported twice are stored once. No image file has
    such an id as its digest.

    Args:
        features: `[n, d]`, float32 or float16, in any byte order and memory layout.
    """
    kind = features.dtype.newbyteorder("<")
    head = b"\0".join([_ID_TAG, kind.str.encode(), str(features.shape[1]).encode(), b""])
    return tuple(
        hashlib.sha256(head + np.ascontiguousarray(row, kind).tobytes()).digest()
        for row in features
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledFeatures:
    """Features of n images, d wide, with labels among c classes. Make them with `from_arrays`.

    Neither the encoder nor its preprocessing can be known from features, nor for certain whether
    they are raw: of features that look normalised (`have_unit_norms`) the raw norms are lost, and
    methods that blend before they normalise blend in other proportions. Rows may repeat, also with
    different labels.

    Attributes:
        source: name of the features, e.g. the name of their file.
        features: `[n, d]`, float32 or float16.
        labels: `[n]`, int64, 0 to c - 1; classes without rows are allowed.
        class_names: c distinct names.
        splits: n of "train", "val", "test"; None when unknown.
        image_sha256: n digests of image files, 32 bytes each; or the `row_ids` of the features.
        paths: n paths or keys of the images, to be shown and never opened; None when unknown.
        text_features: `[c, d]`, one row a class; their precision may differ from that of `features`.
        logit_scale: factor of the cosines, such as 100 (not its logarithm); None when unknown.
        logit_bias: constant that a sigmoid model (SigLIP) adds to every scaled cosine; None without.
        views: `[v, n, d]`, features of the training views 1 to v; None without views.
        description: what made the features, e.g. `dataset`, `encoder`, `model`.
    """

    source: str
    features: Features
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    splits: tuple[str, ...] | None
    image_sha256: tuple[bytes, ...]
    paths: tuple[str, ...] | None
    text_features: Features | None
    logit_scale: float | None
    logit_bias: float | None = None
    views: Features | None = None
    description: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        *,
        source: str,
        features: npt.NDArray[Any],
        labels: Column | None = None,
        row_names: Column | None = None,
        class_names: Column | None = None,
        splits: Column | None = None,
        image_sha256: Column | None = None,
        paths: Column | None = None,
        text_features: npt.NDArray[Any] | None = None,
        logit_scale: npt.NDArray[Any] | float | None = None,
        logit_bias: npt.NDArray[Any] | float | None = None,
        views: Features | None = None,
        description: Mapping[str, str] | None = None,
    ) -> "LabelledFeatures":
        """Check and convert arrays; docs/exchange.md states every conversion.

        Args:
            source: name of the features.
            features: `[n, d]` floats.
            labels: `[n]` integers from 0 (an array) or class names; `row_names` where None.
            row_names: `[n]` class names, which name integer labels without `class_names`.
            class_names: `[c]` text in the order of the labels; by default the distinct names among
                the labels, sorted.
            splits: `[n]` text.
            image_sha256: uint8 `[n, 32]`, or `[n]` of 32 bytes or 64 hexadecimal digits.
            paths: `[n]` text.
            text_features: `[c, d]` floats.
            logit_scale: one number.
            logit_bias: one number.
            views: `[v, n, d]` in the precision of the features.
            description: what made the features.

        Raises:
            InvalidImportError: they do not make up labelled features.
        """
        check_rows(len(features) if features.ndim else 0, source)
        matrix = as_matrix(features, "features", source)
        names = None if class_names is None else as_class_names(class_names, source)
        numbers, names = as_labels(labels, row_names, names, source)
        digests = row_ids(matrix) if image_sha256 is None else as_digests(image_sha256, source)
        found = cls(
            source=source,
            features=matrix,
            labels=numbers,
            class_names=names,
            splits=None if splits is None else as_splits(splits, source),
            image_sha256=digests,
            paths=None if paths is None else as_texts(paths, "paths", source),
            text_features=_as_texts_matrix(text_features, (len(names), matrix.shape[1]), source),
            logit_scale=None if logit_scale is None else as_scale(logit_scale, source),
            logit_bias=None if logit_bias is None else as_bias(logit_bias, source),
            views=views,
            description=dict(description or {}),
        )
        columns = ("labels", "image_sha256", "splits", "paths")
        check_lengths({name: getattr(found, name) for name in columns}, len(found), source)
        check_digests(digests, matrix, source)
        _check_views(found)
        return found

    def __len__(self) -> int:
        return len(self.features)

    @property
    def dim(self) -> int:
        """Width of a feature."""
        return int(self.features.shape[1])

    @property
    def n_views(self) -> int:
        """Number of views of each image, the plain image (view 0) included."""
        return 1 + (0 if self.views is None else len(self.views))

    @property
    def have_image_digests(self) -> bool:
        """Whether rows are identified by digests of images and not by their own values."""
        return self.image_sha256 != row_ids(self.features)

    @property
    def have_unit_norms(self) -> bool:
        """Whether every row has norm 1 within 0.002, so that it looks normalised."""
        for start in range(0, len(self), _ROWS_AT_ONCE):  # half precision is converted for the sums
            rows = self.features[start : start + _ROWS_AT_ONCE]
            norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float32))
            if not (np.abs(norms - 1) <= _UNIT_TOLERANCE).all():
                return False
        return True


def _as_texts_matrix(
    values: npt.NDArray[Any] | None, expected: tuple[int, int], source: str
) -> Features | None:
    if values is None:
        return None
    texts = as_matrix(values, "text_features", source)
    if texts.shape != expected:
        raise InvalidImportError(
            source,
            f"text_features have shape {list(texts.shape)}, expected {list(expected)}: one row a "
            "class, as wide as the features; leave them out if they are something else",
        )
    return texts


def _check_views(found: LabelledFeatures) -> None:
    views, expected = found.views, (len(found), found.dim)
    if views is None:
        return
    if views.ndim != 3 or views.shape[1:] != expected or views.dtype != found.features.dtype:
        raise InvalidImportError(
            found.source,
            f"views are {views.dtype} of shape {list(views.shape)}, expected "
            f"{found.features.dtype} [v, {expected[0]}, {expected[1]}]: all views of all images",
        )
    as_matrix(views.reshape(-1, found.dim), "views", found.source)


def gather_features(
    store: FeatureStore,
    index: pa.Table,
    *,
    text_features: Features | None = None,
    logit_scale: float | None = None,
    logit_bias: float | None = None,
    with_views: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> LabelledFeatures:
    """Read the feature of every row of a dataset index.

    Args:
        store: the features of one encoder.
        index: an index as `IndexStore.read` returns it.
        text_features: `[c, d]`, one row a class; None without texts.
        logit_scale: factor of the cosines; None when unknown.
        logit_bias: constant that a sigmoid model adds to every scaled cosine; None without.
        with_views: whether to read the training views 1, 2, ... that all images have.
        progress: called with the number of rows just read.

    Raises:
        NotStoredError: an image has no feature.
        InvalidImportError: a class below the highest label has no rows.
    """
    columns = {name: index.column(name).to_pylist() for name in index.column_names}
    digests, dataset = columns["image_sha256"], columns["dataset"][0]
    matrices: list[Features] = [store.read_images(digests)]
    progress(len(digests))
    while with_views and not store.missing_images(digests, view=len(matrices)):
        matrices.append(store.read_images(digests, view=len(matrices)))
        progress(len(digests))
    names = dict(zip(columns["label"], columns["class_name"], strict=True))
    return LabelledFeatures.from_arrays(
        source=dataset,
        features=matrices[0],
        labels=np.array(columns["label"], np.int64),
        class_names=[names[label] for label in sorted(names)],
        splits=columns["split"],
        image_sha256=digests,
        paths=columns["path"],
        text_features=text_features,
        logit_scale=logit_scale,
        logit_bias=logit_bias,
        views=np.stack(matrices[1:]) if matrices[1:] else None,
        description={"dataset": dataset, "encoder": store.encoder},
    )
