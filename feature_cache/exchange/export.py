"""Features of a stored dataset, gathered for an export."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from feature_cache.exchange.labelled_features import LabelledFeatures
from feature_cache.feature_table import Features
from feature_cache.features import FeatureStore


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
