"""Features of a store gathered for a file, and the writer that fits the file's name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from feature_cache.exchange.clip_retrieval_writer import WritingRules, write_clip_retrieval
from feature_cache.exchange.errors import ExportChoiceError
from feature_cache.exchange.formats import Format
from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.exchange.npy import write_npy
from feature_cache.exchange.npz import write_npz
from feature_cache.exchange.safetensors_file import FeatureFile, write_safetensors
from feature_cache.features import FeatureStore
from feature_cache.vectors import Features

_FORMATS: dict[str, Format] = {
    ".npz": "npz",
    ".npy": "npy",
    ".safetensors": "safetensors",
    "": "clip-retrieval",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """What is known about the texts of a dataset's classes.

    Attributes:
        features: `[c, d]`, one a class; None when the store has none.
        logit_scale: What multiplies the cosines; None when nobody recorded it.
    """

    features: Features | None
    logit_scale: float | None


def gather_features(
    store: FeatureStore,
    index: pa.Table,
    texts: Texts,
    *,
    with_views: bool = False,
    progress: Callable[[int], None] | None = None,
) -> FeatureFile:
    """Every row of a dataset index with its feature.

    Args:
        store: Of the encoder.
        index: As `IndexStore.read` gives it.
        texts: Of the classes.
        with_views: Also the training views 1, 2, ... as far as all images have them.
        progress: Called with the number of rows just read.

    Raises:
        MissingFeaturesError: An image has no feature.
        InvalidForeignFeaturesError: A class below the highest label has no rows.
    """
    columns = {name: index.column(name).to_pylist() for name in index.column_names}
    digests = columns["image_sha256"]
    features = store.read_images(digests)
    if progress is not None:
        progress(len(digests))
    names = dict(zip(columns["label"], columns["class_name"], strict=True))
    foreign = LabelledFeatures(
        features=features,
        labels=np.array(columns["label"], np.int64),
        class_names=tuple(names[label] for label in sorted(names)),
        image_sha256=tuple(digests),
        source=columns["dataset"][0],
        splits=tuple(columns["split"]),
        paths=tuple(columns["path"]),
        text_features=texts.features,
        logit_scale=texts.logit_scale,
    )
    views = _views(store, digests, progress) if with_views else []
    return FeatureFile(
        foreign,
        views=np.stack(views) if views else None,
        description={"dataset": columns["dataset"][0], "encoder": store.encoder},
    )


def format_for(path: Path) -> Format:
    """The format that a name asks for: by its suffix, and a folder without one.

    Raises:
        ExportChoiceError: Another suffix.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ExportChoiceError(
            f"{path} has the suffix {path.suffix!r}, expected .safetensors, .npz, .npy, or none "
            "for clip-retrieval's folder: rename it, or say the format"
        )
    return form


def write_features(
    path: Path,
    content: FeatureFile,
    *,
    form: Format,
    keep_precision: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write one export, complete or not at all.

    Args:
        path: The file, or clip-retrieval's folder.
        content: What to write; the format decides how much of it there is room for.
        form: Of the file.
        keep_precision: clip-retrieval: neither normalise nor round; the others always keep
            every bit.
        overwrite: Replace what is there.

    Raises:
        ExistingExportError: Something is there.
        OSError: The disk refused; nothing is left behind.
    """
    if form == "safetensors":
        return write_safetensors(path, content, overwrite=overwrite)
    if form == "npz":
        return write_npz(path, content.features, overwrite=overwrite)
    if form == "npy":
        return write_npy(path, content.features, overwrite=overwrite)
    every_bit = WritingRules(normalise=False, precision="as stored")
    rules = every_bit if keep_precision else WritingRules()
    return write_clip_retrieval(path, content.features, rules=rules, overwrite=overwrite)


def _views(
    store: FeatureStore, digests: Sequence[bytes], progress: Callable[[int], None] | None
) -> list[Features]:
    views: list[Features] = []
    while not store.missing_images(digests, view=len(views) + 1):
        views.append(store.read_images(digests, view=len(views) + 1))
        if progress is not None:
            progress(len(digests))
    return views
