"""Features of a dataset before and after the adapter of a trained classifier, in two dimensions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from clip_adapter.errors import DataError
from clip_adapter.pipeline.datasets import stored_state
from clip_adapter.pipeline.load import CHAMPION, RUN, load
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import PromotionRecord, PromotionStore, RunStoreError, query
from clip_adapter.settings import Settings
from feature_cache import FeatureStore, IndexStore, Location, NotStoredError

if TYPE_CHECKING:
    from clip_adapter.methods import AdapterClassifier, SavedClassifier

METHOD = "clip-adapter"
"""The built-in method that adapts image features."""
MOST_IMAGES = 1000
DIGITS = 8
"""Least digits of a fingerprint that name an encoder."""

_LAST_RUN = """
SELECT run_id FROM current_runs
WHERE dataset = $dataset AND method = $method
    AND ($model IS NULL OR model = $model OR (len($model) >= 8 AND encoder ^@ $model))
ORDER BY started_at DESC, shots DESC, seed, run_id LIMIT 1
"""


def adapted_features(
    dataset: str,
    *,
    classifier: str | None = None,
    model: str | None = None,
    root: Location | str | None = None,
    max_images: int = MOST_IMAGES,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> pa.Table:
    """Project stored features before and after an adapter on the same two principal components.

    The components are those of the directions of image features, before and after together. Text features
    are projected on them about their own mean, which removes the distance between images and texts
    (Liang et al. 2022, https://arxiv.org/abs/2203.02053). The same store gives the same points.

    Args:
        dataset: name of a dataset in the store.
        classifier: `champion:DATASET`, `run:ID` or the path of a classifier's file; when None, the
            champion where it adapts image features, else the last run of clip-adapter.
        model: model of the encoder of the run, or eight digits of its fingerprint, where none is named.
        root: folder or URL of the store; CLIP_ADAPTER_ROOT when None, and ./clip-adapter-store when that
            is not set.
        max_images: largest number of images, of the test split, or of the validation split where
            there is no test image; their digests choose them.
        reporter: where to report a run that is fitted again.

    Returns:
        One row a point: `x`, `y`, `class_name`, `state` (before or after the adapter) and `kind` (image or
        text).

    Raises:
        DataError: the classifier does not change image features.
        RunStoreError: there is no store, or no classifier that adapts image features.
        UnknownNameError: there is no such run; the message suggests the nearest.
        NotStoredError: the images have no stored features.
        FeatureCacheError: a file of the store is damaged.
    """
    place = Settings.of(root=None if root is None else str(root)).location
    saved = _saved(dataset, classifier, model=model, root=place, reporter=reporter)
    adapter = _adapter(saved)
    digests, names = _images(place, dataset, saved, max_images=max_images)
    store = FeatureStore(place, saved.encoder)
    before = store.read_images(digests).astype(np.float32, copy=False)
    after = _adapted(adapter, before)
    if np.array_equal(before, after):
        raise DataError(
            f"{saved.method} of {dataset} has a residual ratio of 0, so that image features do not change: "
            "name another run with classifier='run:ID'"
        )
    images = [_directions(before), _directions(after)]
    texts = [_directions(each) for each in _texts(saved, adapter, store)]
    shown = _projected(images, texts)
    classes = [names, names, *[list(adapter.class_names)] * len(texts)]
    states = ["before", "after", *(["before", "after"] if len(texts) == 2 else ["after"])]
    kinds = ["image", "image", *["text"] * len(texts)]
    return pa.table(
        {
            "x": np.concatenate([each[:, 0] for each in shown]),
            "y": np.concatenate([each[:, 1] for each in shown]),
            "class_name": [name for each in classes for name in each],
            "state": np.repeat(states, [len(each) for each in shown]).tolist(),
            "kind": np.repeat(kinds, [len(each) for each in shown]).tolist(),
        }
    )


def _saved(
    dataset: str, classifier: str | None, *, model: str | None, root: Location, reporter: Reporter
) -> "SavedClassifier":
    if classifier is not None:
        return load(classifier, root=root, reporter=reporter).saved
    champion = PromotionStore(root).champion(
        dataset, on_corruption=lambda error: reporter.log(str(error))
    )
    if champion and (model is None or _names(model, champion.record)):
        kept = load(f"{CHAMPION}{dataset}", root=root, reporter=reporter).saved
        if _is_adapter(kept):
            return kept
    found = query(root, _LAST_RUN, {"dataset": dataset, "method": METHOD, "model": model})
    if not len(found):
        what = f" with {model}" if model else ""
        raise RunStoreError(
            f"{dataset!r} has no run of {METHOD}{what}, whose adapter changes image features: run "
            f"`clip-adapter train {dataset} --methods zero-shot,{METHOD}`"
        )
    return load(f"{RUN}{found['run_id'][0].as_py()}", root=root, reporter=reporter).saved


def _names(model: str, record: PromotionRecord) -> bool:
    """Whether a model, or eight digits of a fingerprint, is the encoder of a promotion."""
    is_digits = len(model) >= DIGITS and record.encoder.startswith(model)
    return model == record.model or is_digits


def _is_adapter(saved: "SavedClassifier") -> bool:
    from clip_adapter.methods import AdapterClassifier  # noqa: PLC0415  # imports torch
    from clip_adapter.methods.extended_classifier import fitted_part  # noqa: PLC0415  # as above

    return isinstance(fitted_part(saved.classifier), AdapterClassifier)


def _adapter(saved: "SavedClassifier") -> "AdapterClassifier":
    from clip_adapter.methods.extended_classifier import fitted_part  # noqa: PLC0415  # see above

    if not _is_adapter(saved):
        raise DataError(
            f"{saved.method} leaves image features as they are, so that there is nothing to show: name a run "
            f"of {METHOD} whose branch is visual or both, as classifier='run:ID' (--classifier)"
        )
    found: AdapterClassifier = fitted_part(saved.classifier)  # type: ignore[assignment]  # checked
    return found


def _images(
    root: Location, dataset: str, saved: "SavedClassifier", *, max_images: int
) -> tuple[list[bytes], list[str]]:
    """Digests and class names of images that trained nothing, in the order of the digests."""
    store = IndexStore(root, dataset)
    state = saved.metadata.index_fingerprint if saved.metadata else ""
    table = store.read(state if state in store.fingerprints() else stored_state(root, dataset))
    rows = table.select(["image_sha256", "class_name", "split"]).to_pylist()
    for split in ("test", "val"):
        of_split = {row["image_sha256"]: row["class_name"] for row in rows if row["split"] == split}
        if of_split:
            chosen = sorted(of_split)[:max_images]
            return chosen, [of_split[each] for each in chosen]
    raise DataError(
        f"{dataset!r} has no test or validation images: expected a test split, whose features are shown"
    )


def _adapted(
    adapter: "AdapterClassifier", features: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """Image features after the adapter, as its classifier compares them with the prototypes."""
    import torch  # noqa: PLC0415  # computes

    from clip_adapter.adapters import (  # noqa: PLC0415  # as above
        bottleneck,
        predicted_ratio,
        residual_blend,
    )

    raw, down, up = (torch.from_numpy(each) for each in (features, adapter.down, adapter.up))
    ratio: Any = adapter.residual_ratio
    if adapter.ratio_query is not None:
        query_of = torch.from_numpy(adapter.ratio_query)[:, None]
        ratio = predicted_ratio(raw, query_of, adapter.ratio_offset)
    adapted = bottleneck(raw, down.T, up.T, output_activation=adapter.output_activation)
    blended: Float[np.ndarray, "n d"] = residual_blend(raw, adapted, ratio).numpy()
    return blended


def _texts(
    saved: "SavedClassifier", adapter: "AdapterClassifier", store: FeatureStore
) -> list[Float[np.ndarray, "c d"]]:
    """The text features before and after the adapter; those after alone where no prompt is stored."""
    from clip_adapter.methods import class_prototypes  # noqa: PLC0415  # imports what computes

    described = saved.metadata
    if described is None:
        return [adapter.class_prototypes]
    own: Sequence[Sequence[str]] = described.class_prompts or ((),) * len(adapter.class_names)
    prompts = [
        [prompt.replace("{}", name) for prompt in prompts or described.templates]
        for name, prompts in zip(adapter.class_names, own, strict=True)
    ]
    try:
        before = [
            class_prototypes(store.read_prompts(each).astype(np.float32)[np.newaxis])
            for each in prompts
            if each
        ]
    except NotStoredError:
        return [adapter.class_prototypes]
    if len(before) != len(prompts):
        return [adapter.class_prototypes]
    return [np.concatenate(before), adapter.class_prototypes]


def _directions(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions: Float[np.ndarray, "n d"] = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions


def _projected(
    images: Sequence[Float[np.ndarray, "n d"]], texts: Sequence[Float[np.ndarray, "c d"]]
) -> list[Float[np.ndarray, "n 2"]]:
    from sklearn.decomposition import PCA  # noqa: PLC0415  # takes half a second

    components = PCA(n_components=2, svd_solver="full").fit(np.concatenate(images))
    shown = [components.transform(each) for each in images]
    if texts:
        centre = np.concatenate(texts).mean(axis=0)
        shown += [(each - centre) @ components.components_.T for each in texts]
    return shown
