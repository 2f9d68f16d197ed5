"""Features from elsewhere put at rest: checked against what is there, then written."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from feature_cache.errors import UnsafeNameError
from feature_cache.exchange.checks import close_rows
from feature_cache.exchange.errors import ImportConflictError, InvalidForeignFeaturesError
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.provenance import ClassTexts, ImportedEncoder
from feature_cache.exchange.safetensors_file import FeatureFile
from feature_cache.features import FeatureStore
from feature_cache.indexes import INDEX_SCHEMA, QUARANTINE_SCHEMA, IndexStore
from feature_cache.paths import Location
from feature_cache.vectors import Features

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FORMAT = "clip-adapter imported index 1"
_FILE_BYTES = 128 * 2**20
"""Of a file of features: what compaction aims at as well."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImportSettings:
    """Under which names features are stored.

    Attributes:
        name: Of the dataset.
        label: What to call the encoder that made the features.
        texts: Text features of the classes.
    """

    name: str
    label: str
    texts: ClassTexts


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What one import did.

    Attributes:
        encoder: Under which the features are stored.
        index_fingerprint: Of the dataset's index.
        n_images: Distinct images.
        n_new: Features of images, in all views, that were not there before.
        n_new_prompts: Text features that were not there before.
    """

    encoder: str
    index_fingerprint: str
    n_images: int
    n_new: int
    n_new_prompts: int


def check_import_name(name: str) -> None:
    """Refuse a name that cannot be a dataset's.

    Raises:
        UnsafeNameError: Anything but a-z, 0-9 and single dashes inside.
    """
    if not _NAME.fullmatch(name):
        better = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:80]
        hint = f", as {better!r}" if better else ""
        raise UnsafeNameError(f"name {name!r:.80}: use a-z, 0-9 and single dashes{hint}")


def import_features(
    root: Location,
    content: FeatureFile,
    settings: ImportSettings,
    *,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Store features, and the index of a dataset that consists of them.

    Everything is checked before anything is written; the same content again writes nothing. An
    import that is interrupted is finished by the same import.

    Args:
        root: Of everything at rest.
        content: The features, every row with a split, every class with a row.
        settings: What the dataset and its encoder are called, and the texts of its classes.
        progress: Called with the number of rows just stored, or found to be stored.

    Raises:
        UnsafeNameError: Not a name.
        ImportConflictError: The name has another index; or the encoder has other features of
            the same images.
        InvalidForeignFeaturesError: A class without rows, no splits, or texts that do not fit.
    """
    check_import_name(settings.name)
    foreign, name = content.features, settings.name
    _check_classes(foreign)
    encoder = ImportedEncoder.of(foreign, settings.texts, label=settings.label)
    index = _index(foreign, name=name, encoder=encoder.fingerprint)
    fingerprint = index.column("index_fingerprint")[0].as_py()
    store, indexes = FeatureStore(root, encoder.fingerprint), IndexStore(root, name)
    _refuse_other_index(indexes, fingerprint)
    views = [foreign.features, *(content.views if content.views is not None else ())]
    for view, features in enumerate(views):
        _refuse_other_features(store, foreign, features, view=view)
    # Before the features: garbage is what no index names.
    indexes.write(index, QUARANTINE_SCHEMA.empty_table())
    n_new = 0
    for view, features in enumerate(views):
        given = features.astype(encoder.precision, copy=False)
        n_new += _append(store, foreign.image_sha256, given, view=view, progress=progress)
    n_prompts = _append_prompts(store, settings.texts, foreign, precision=encoder.precision)
    # Last: a dataset that is described is complete.
    about = {"source": foreign.source, "dataset": name, "index": fingerprint}
    store.describe({**encoder.fields(), **about})
    return Imported(
        encoder=encoder.fingerprint,
        index_fingerprint=fingerprint,
        n_images=len(set(foreign.image_sha256)),
        n_new=n_new,
        n_new_prompts=n_prompts,
    )


def _check_classes(foreign: LabelledFeatures) -> None:
    empty = sorted(set(range(len(foreign.class_names))) - set(foreign.labels.tolist()))
    if empty:
        raise InvalidForeignFeaturesError(
            foreign.source,
            f"{len(empty)} of {len(foreign.class_names)} classes have no rows (as "
            f"{foreign.class_names[empty[0]]!r:.80}): leave them out, and number the others from 0",
        )
    if foreign.splits is None:
        raise InvalidForeignFeaturesError(
            foreign.source, "they have no splits: give each row train, val or test"
        )


def _index(foreign: LabelledFeatures, *, name: str, encoder: str) -> pa.Table:
    n = len(foreign)
    paths = foreign.paths or tuple(f"row/{row:06d}" for row in range(n))
    digests, splits = foreign.image_sha256, foreign.splits or ()
    rows = list(
        zip(
            paths,
            [each.hex() for each in digests],
            foreign.labels.tolist(),
            splits,
            strict=True,
        )
    )
    document = json.dumps([_FORMAT, name, encoder, foreign.class_names, rows])
    fingerprint = hashlib.sha256(document.encode("ascii")).hexdigest()
    unknown = np.zeros(n, np.int32)
    columns = {
        "index_fingerprint": [fingerprint] * n,
        "dataset": [name] * n,
        "row": np.arange(n, dtype=np.int32),
        "image_sha256": pa.array(digests, pa.binary(32)),
        "path": paths,
        "label": foreign.labels.astype(np.int32),
        "class_name": [foreign.class_names[label] for label in foreign.labels],
        "split": splits,
        "group": pa.nulls(n, pa.string()),
        "width": unknown,
        "height": unknown,
        "n_bytes": unknown.astype(np.int64),
    }
    return pa.table(columns, schema=INDEX_SCHEMA)


def _refuse_other_index(indexes: IndexStore, fingerprint: str) -> None:
    if indexes.fingerprints() - {fingerprint}:
        raise ImportConflictError(
            f"{indexes.dataset!r} is taken: this store has a dataset of that name with other rows, "
            "labels, splits, texts or another encoder; choose another --name"
        )


def _refuse_other_features(
    store: FeatureStore, foreign: LabelledFeatures, features: Features, *, view: int
) -> None:
    missing = set(store.missing_images(foreign.image_sha256, view=view))
    rows = [row for row, digest in enumerate(foreign.image_sha256) if digest not in missing]
    if not rows:
        return
    held = store.read_images([foreign.image_sha256[row] for row in rows], view=view)
    alike = close_rows(held, features if len(rows) == len(features) else features[rows])
    if not alike.all():
        raise ImportConflictError(
            f"row {rows[int(alike.argmin())]} of {foreign.source!r} has another feature in the "
            f"store, made by an encoder of the same label: {int((~alike).sum())} of {len(rows)} "
            "differ; if another encoder made these, give them another --label"
        )


def _append(
    store: FeatureStore,
    digests: Sequence[bytes],
    features: Features,
    *,
    view: int,
    progress: Callable[[int], None] | None,
) -> int:
    missing = set(store.missing_images(digests, view=view))
    first = {digest: row for row, digest in reversed(list(enumerate(digests)))}
    rows = sorted(row for digest, row in first.items() if digest in missing)
    size = max(1, _FILE_BYTES // features[0].nbytes)
    if progress is not None:
        progress(len(digests) - len(rows))
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        store.append_images([digests[row] for row in chosen], features[chosen], view=view)
        if progress is not None:
            progress(len(chosen))
    return len(rows)


def _append_prompts(
    store: FeatureStore, texts: ClassTexts, foreign: LabelledFeatures, *, precision: str
) -> int:
    prompts = texts.prompts(foreign.class_names)
    missing = store.missing_prompts(prompts)
    if missing:
        rows = [prompts.index(prompt) for prompt in missing]
        store.append_prompts(missing, texts.features[rows].astype(precision, copy=False))
    return len(missing)
