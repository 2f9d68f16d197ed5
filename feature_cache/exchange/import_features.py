"""Import of labelled features into a store: checked against what it has, then written."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from feature_cache.errors import InvalidInputError
from feature_cache.exchange.conversions import as_bias, as_matrix, as_scale, close_rows
from feature_cache.exchange.errors import InvalidImportError
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.feature_table import Features
from feature_cache.features import FeatureStore
from feature_cache.indexes import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore
from feature_cache.paths import Location

CLIP_LOGIT_SCALE = 100.0
"""Default logit scale: the value that CLIP's training ended at (Radford et al. 2021, section 2.5)."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_INDEX_FORMAT = "clip-adapter imported index 1"
_FILE_BYTES = 128 * 2**20  # the size of a file of features at which compaction aims, too


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassTexts:
    """Text features of c classes in t templates each, and what made them.

    Attributes:
        templates: t prompts with one `{}`.
        features: `[c * t, d]`, raw, class by class and template by template.
        made_by: identifier of what made the features; others must have another.
        logit_scale: factor of the cosines.
        logit_bias: constant that a sigmoid model adds to every scaled cosine; None without. It is
            recorded, and no part of what identifies the encoder.
    """

    templates: tuple[str, ...]
    features: Features
    made_by: str
    logit_scale: float
    logit_bias: float | None = None

    def prompts(self, class_names: tuple[str, ...]) -> list[str]:
        """The text of each row of the features."""
        return [each.replace("{}", name) for name in class_names for each in self.templates]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Result of an import.

    Attributes:
        encoder: fingerprint of the encoder under which the features are stored.
        index_fingerprint: fingerprint of the dataset's index.
        n_images: number of distinct images.
        n_new: number of features of images, in all views, that were not stored before.
        n_new_prompts: number of text features that were not stored before.
    """

    encoder: str
    index_fingerprint: str
    n_images: int
    n_new: int
    n_new_prompts: int


def texts_of_file(features: LabelledFeatures) -> ClassTexts:
    """The text features that came with the image features, for prompts of the class name alone.

    Raises:
        InvalidImportError: there are none, or there is a logit bias without a logit scale.
    """
    texts = features.text_features
    if texts is None:
        raise InvalidImportError(
            features.source,
            "nothing says what their classes look like to the encoder's text tower: add "
            "text_features [c, d], or name the model that made the features with --text-model",
        )
    if features.logit_bias is not None and features.logit_scale is None:
        raise InvalidImportError(
            features.source,
            "they have a logit_bias and no logit_scale: add it, as both belong together",
        )
    little = np.ascontiguousarray(texts, texts.dtype.newbyteorder("<"))
    names = json.dumps(features.class_names)
    digest = hashlib.sha256(f"{little.dtype.str}\0{names}\0".encode() + little.tobytes())
    return ClassTexts(
        templates=("{}",),
        features=texts,
        made_by=f"file:{digest.hexdigest()}",
        logit_scale=features.logit_scale or CLIP_LOGIT_SCALE,
        logit_bias=features.logit_bias,
    )


def check_import_name(name: str) -> None:
    """Check that a dataset can have a name.

    Raises:
        InvalidInputError: anything but a-z, 0-9 and single dashes inside.
    """
    if not _NAME.fullmatch(name):
        better = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:80]
        hint = f", as {better!r}" if better else ""
        raise InvalidInputError(f"name {name!r:.80}: use a-z, 0-9 and single dashes{hint}")


def import_features(
    root: Location,
    features: LabelledFeatures,
    *,
    name: str,
    label: str,
    texts: ClassTexts,
    progress: Callable[[int], None] = lambda _: None,
) -> Imported:
    """Store features, and the index of a dataset that consists of them.

    Everything is checked before anything is written. Importing the same content again writes
    nothing, and completes an import that was interrupted.

    Args:
        root: root of the store.
        features: the features; every row has a split, every class a row.
        name: name of the dataset.
        label: name of the encoder that made the features.
        texts: text features of the classes.
        progress: called with the number of rows just stored, or found to be stored.

    Raises:
        InvalidInputError: the name is malformed.
        InvalidImportError: the name has another index, or the encoder other features of the same
            images; or a class has no rows, the rows no splits, or the texts do not fit.
    """
    check_import_name(name)
    _check_complete(features)
    _check_texts(features, texts)
    encoder = _describe_encoder(features, texts, label)
    store = FeatureStore(root, _encoder_fingerprint(encoder))
    indexes = IndexStore(root, name)
    first_name = indexes.first_name()  # None unless the dataset was renamed
    fingerprint = _fingerprint(features, name=first_name or name, encoder=store.encoder)
    index = _index(features, name=name, fingerprint=fingerprint)
    if indexes.fingerprints() - {fingerprint}:
        raise InvalidImportError(
            features.source,
            f"{name!r} is taken: this store has a dataset of that name with other rows, labels, "
            "splits, texts or another encoder; choose another --name",
        )
    views = [features.features, *(() if features.views is None else features.views)]
    for view, matrix in enumerate(views):
        _check_stored(store, features, matrix, view=view)
    # The index comes before the features, because features without an index are garbage.
    indexes.write(index, QUARANTINE_SCHEMA.empty_table(), name=first_name)
    n_new = 0
    for view, matrix in enumerate(views):
        n_new += _append(
            store,
            features.image_sha256,
            matrix,
            precision=encoder["precision"],
            view=view,
            progress=progress,
        )
    n_new_prompts = _append_prompts(store, texts, features.class_names, encoder["precision"])
    # The description comes last, because a dataset that is described counts as complete.
    about = {"source": features.source, "dataset": name, "index": fingerprint}
    if texts.logit_bias is not None:
        about["logit_bias"] = repr(texts.logit_bias)
    store.describe(_as_text(encoder) | about)
    return Imported(
        encoder=store.encoder,
        index_fingerprint=fingerprint,
        n_images=len(set(features.image_sha256)),
        n_new=n_new,
        n_new_prompts=n_new_prompts,
    )


def _check_complete(features: LabelledFeatures) -> None:
    names = features.class_names
    empty = sorted(set(range(len(names))) - set(features.labels.tolist()))
    if empty:
        raise InvalidImportError(
            features.source,
            f"{len(empty)} of {len(names)} classes have no rows (as {names[empty[0]]!r:.80}): "
            "leave them out, and number the others from 0",
        )
    if features.splits is None:
        raise InvalidImportError(
            features.source, "they have no splits: give each row train, val or test"
        )


def _describe_encoder(features: LabelledFeatures, texts: ClassTexts, label: str) -> dict[str, Any]:
    """What identifies the encoder; no other encoder has an `origin`."""
    if not label.strip() or not label.isprintable():
        raise InvalidImportError(
            features.source, "their label is empty or cannot be printed: give another"
        )
    return {
        "origin": "imported",
        "label": label,
        "width": features.dim,
        "precision": np.result_type(features.features, texts.features).name,  # the wider of both
        "text": texts.made_by,
        "templates": texts.templates,
        "logit_scale": texts.logit_scale,
    }


def _check_texts(features: LabelledFeatures, texts: ClassTexts) -> None:
    as_scale(texts.logit_scale, features.source)
    if texts.logit_bias is not None:
        as_bias(texts.logit_bias, features.source)
    matrix = as_matrix(texts.features, "text features", features.source)
    expected = (len(features.class_names) * len(texts.templates), features.dim)
    if matrix.shape != expected:
        raise InvalidImportError(
            features.source,
            f"the text features have shape {list(matrix.shape)}, expected {list(expected)}: take "
            "the text tower of the very model that made the features",
        )
    if not matrix.any(axis=1).all():
        raise InvalidImportError(
            features.source, "a row of the text features is zero and points nowhere: correct it"
        )


def _encoder_fingerprint(encoder: dict[str, Any]) -> str:
    text = json.dumps(encoder, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(encoder: dict[str, Any]) -> dict[str, str]:
    """The description of the encoder as a store keeps it."""
    return encoder | {
        "model": encoder["label"],
        "width": str(encoder["width"]),
        "templates": json.dumps(encoder["templates"]),
        "logit_scale": repr(encoder["logit_scale"]),
    }


def _fingerprint(features: LabelledFeatures, *, name: str, encoder: str) -> str:
    """Fingerprint of the index under the name that the dataset had when it was first imported."""
    digests = [each.hex() for each in features.image_sha256]
    labels, splits = features.labels.tolist(), features.splits or ()
    rows = list(zip(_paths(features), digests, labels, splits, strict=True))
    document = json.dumps([_INDEX_FORMAT, name, encoder, features.class_names, rows])
    return hashlib.sha256(document.encode("ascii")).hexdigest()


def _paths(features: LabelledFeatures) -> tuple[str, ...]:
    return features.paths or tuple(f"row/{row:06d}" for row in range(len(features)))


def _index(features: LabelledFeatures, *, name: str, fingerprint: str) -> pa.Table:
    n, labels = len(features), features.labels.tolist()
    unknown = np.zeros(n, np.int32)
    columns = {
        "index_fingerprint": [fingerprint] * n,
        "dataset": [name] * n,
        "row": np.arange(n, dtype=np.int32),
        "image_sha256": pa.array(features.image_sha256, pa.binary(32)),
        "path": _paths(features),
        "label": features.labels.astype(np.int32),
        "class_name": [features.class_names[label] for label in labels],
        "split": features.splits or (),
        "group": pa.nulls(n, pa.string()),
        "width": unknown,
        "height": unknown,
        "n_bytes": unknown.astype(np.int64),
    }
    return pa.table(columns, schema=INDEX_SCHEMA)


def _check_stored(
    store: FeatureStore, features: LabelledFeatures, matrix: Features, *, view: int
) -> None:
    """Check that features that the store has already are those of the import."""
    missing = set(store.missing_images(features.image_sha256, view=view))
    rows = [row for row, digest in enumerate(features.image_sha256) if digest not in missing]
    if not rows:
        return
    stored = store.read_images([features.image_sha256[row] for row in rows], view=view)
    close = close_rows(stored, matrix if len(rows) == len(matrix) else matrix[rows])
    if not close.all():
        raise InvalidImportError(
            features.source,
            f"row {rows[int(close.argmin())]} has another feature in the store, made by an encoder "
            f"of the same label: {int((~close).sum())} of {len(rows)} differ; if another encoder "
            "made these, give them another --label",
        )


def _append(
    store: FeatureStore,
    digests: tuple[bytes, ...],
    features: Features,
    *,
    precision: str,
    view: int,
    progress: Callable[[int], None],
) -> int:
    missing = set(store.missing_images(digests, view=view))
    first = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    rows = sorted(row for digest, row in first.items() if digest in missing)
    rows_per_file = max(1, _FILE_BYTES // features[0].nbytes)
    progress(len(digests) - len(rows))
    for start in range(0, len(rows), rows_per_file):
        chosen = rows[start : start + rows_per_file]
        stored = features[chosen].astype(precision, copy=False)
        store.append_images([digests[row] for row in chosen], stored, view=view)
        progress(len(chosen))
    return len(rows)


def _append_prompts(
    store: FeatureStore, texts: ClassTexts, class_names: tuple[str, ...], precision: str
) -> int:
    prompts = texts.prompts(class_names)
    missing = store.missing_prompts(prompts)
    if missing:
        rows = [prompts.index(prompt) for prompt in missing]
        store.append_prompts(missing, texts.features[rows].astype(precision, copy=False))
    return len(missing)
