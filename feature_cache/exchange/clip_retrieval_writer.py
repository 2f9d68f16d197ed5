"""Labelled features written as the folder that clip-retrieval's index reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_cache.exchange.arrays import npy_bytes
from feature_cache.exchange.atomic_write import new_folder, place_file
from feature_cache.exchange.clip_retrieval import IMAGES, TEXTS
from feature_cache.exchange.errors import ExistingExportError, InvalidForeignFeaturesError
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.shards import METADATA, Sort
from feature_cache.vectors import Features

_OURS = {IMAGES.name, TEXTS.name, METADATA.name}


@dataclass(frozen=True)
class WritingRules:
    """How features are written; the usual values write what clip-retrieval itself would.

    Attributes:
        normalise: Divide each row by its norm, since clip-retrieval ranks by inner products. The
            norms are lost; False keeps them. A row of zeros stays as it is.
        precision: "float16" rounds to a thousandth; "as stored" keeps every bit.
        rows_per_shard: How many rows go into one file, and stand in memory twice.
    """

    normalise: bool = True
    precision: Literal["float16", "as stored"] = "float16"
    rows_per_shard: int = 100_000


def write_clip_retrieval(
    folder: Path,
    foreign: LabelledFeatures,
    *,
    rules: WritingRules = WritingRules(),
    overwrite: bool = False,
) -> Path:
    """Write the folder and return it; it is there completely or not at all.

    The metadata have `image_path`, `label`, `class_name`, and `split` and `sha256` where known;
    an id that is no image's digest is not written as one. Text features are written as
    clip-retrieval does it: `text_emb` holds the row of its class for each image, and the class
    name is its `caption`. The logit scale, and classes without rows, are not held.

    Raises:
        ExistingExportError: The folder exists; or it holds other things than such an export.
        InvalidForeignFeaturesError: A value is beyond half precision.
        OSError: The disk refused; nothing is left behind.
    """
    if rules.rows_per_shard < 1:
        raise ValueError(f"rows_per_shard is {rules.rows_per_shard}, expected 1 or more")
    _refuse_strangers(folder)
    starts = range(0, len(foreign), rules.rows_per_shard)
    with new_folder(folder, overwrite=overwrite) as temporary:
        for number, start in enumerate(starts):
            rows = slice(start, start + rules.rows_per_shard)
            padded = str(number).zfill(len(str(len(starts))))
            for sort, content in _shard(foreign, rows, rules):
                place_file(sort.path(temporary, padded), content, overwrite=False)
    return folder


def _refuse_strangers(folder: Path) -> None:
    """A folder is only ever replaced by an export if it holds nothing but one."""
    strangers = sorted({path.name for path in folder.iterdir()} - _OURS) if folder.is_dir() else []
    if strangers:
        raise ExistingExportError(
            f"{folder} holds {strangers[0]!r}, which no export writes: choose another folder"
        )


def _shard(
    foreign: LabelledFeatures, rows: slice, rules: WritingRules
) -> Iterator[tuple[Sort, bytes | memoryview]]:
    yield IMAGES, npy_bytes(_prepared(foreign.features[rows], foreign, rules))
    if foreign.text_features is not None:
        text = foreign.text_features[foreign.labels[rows]]
        yield TEXTS, npy_bytes(_prepared(text, foreign, rules))
    sink = pa.BufferOutputStream()
    pq.write_table(_metadata(foreign, rows), sink, write_page_checksum=True)
    yield METADATA, memoryview(sink.getvalue())


def _prepared(features: Features, foreign: LabelledFeatures, rules: WritingRules) -> Features:
    if rules.normalise:
        norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        exact = features / np.where(norms == 0, 1, norms)
        features = exact.astype(features.dtype)
    if rules.precision == "as stored":
        return features
    with np.errstate(over="ignore"):  # found below
        halves = features.astype(np.float16)
    if not np.isfinite(halves).all():
        raise InvalidForeignFeaturesError(
            foreign.source, "a value is beyond float16: normalise, or write them as stored"
        )
    return halves


def _metadata(foreign: LabelledFeatures, rows: slice) -> pa.Table:
    labels, digests = foreign.labels[rows], [each.hex() for each in foreign.image_sha256[rows]]
    names = [foreign.class_names[label] for label in labels]
    columns = {
        "image_path": list(foreign.paths[rows]) if foreign.paths else digests,
        "caption": None if foreign.text_features is None else names,
        "label": labels,
        "class_name": names,
        "split": list(foreign.splits[rows]) if foreign.splits else None,
        "sha256": digests if foreign.have_image_digests else None,
    }
    return pa.table({name: values for name, values in columns.items() if values is not None})
