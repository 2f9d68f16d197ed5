"""Encode the images and prompts of a dataset that have no feature yet."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.datasets import DatasetIndex
from clip_adapter.encoders import Encoder, load_encoder
from clip_adapter.images import WantedViews, load_ahead
from feature_cache import FeatureStore, compact_folder, stored_folders
from tasks.damage import set_aside_and_say
from tasks.feature_writer import FeatureWriter
from tasks.imported_features import imported_features
from tasks.machine import turn_to_encode
from tasks.progress import track
from tasks.references import EncodedDataset, EncodedPart, Encoding, IndexedDataset, Part
from tasks.retries import PAUSES_SECONDS, RETRIES, when_transient
from tasks.stored_indexes import read_index

__all__ = ["encode_dataset", "encode_images", "encode_with", "prompts_of"]

FILES_WORTH_MERGING = 16
"""Fewer small files than this cost a reader nothing that anybody would notice."""


@task(
    name="encode-dataset",
    cache_policy=NO_CACHE,
    result_serializer="json",
    # Images and features may lie in network folders or object stores; what was encoded is kept.
    retries=RETRIES,
    retry_delay_seconds=PAUSES_SECONDS,
    retry_condition_fn=when_transient,
)
def encode_dataset(
    dataset: IndexedDataset, encoding: Encoding, *, view_rows: Sequence[int] | None = None
) -> EncodedDataset:
    """Encode what the cache lacks; what it holds is never encoded again.

    Imported features are only looked for. A file of features that cannot be trusted is set aside,
    and what it held encoded again.

    Args:
        dataset: an indexed dataset.
        encoding: with what, and which views.
        view_rows: the rows of the images that get augmented views; all when None.

    Raises:
        EncoderError: the model cannot be loaded.
        ChangedImageError: an image file changed or vanished after it was indexed.
        BrokenFeaturesError: the model makes infinity or NaN of an image.
        IncompleteImportError: imported features are not all there.
    """
    if dataset.is_imported:
        return imported_features(dataset, views=encoding.views, view_rows=view_rows)
    return encode_with(_load(encoding), dataset, encoding, view_rows=view_rows)


@task(name="encode-images", cache_policy=NO_CACHE, result_serializer="json")
def encode_images(
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    part: Part,
    view_rows: Sequence[int] | None = None,
) -> EncodedPart:
    """Encode what the cache lacks of some of the images, and neither prompts nor anything else.

    Args:
        dataset: an indexed dataset, not an imported one.
        encoding: with what, and which views.
        part: which of the images, in the order of the index.
        view_rows: as `encode_dataset`.

    Raises as `encode_dataset`.
    """
    encoder = _load(encoding)
    store = _described_store(encoder, dataset, encoding)
    index = read_index(dataset)
    wanted = part.take(_wanted_views(index, encoding, view_rows))
    return _encode_missing(encoder, store, index, wanted=wanted, processes=encoding.processes)


def _load(encoding: Encoding) -> Encoder:
    return load_encoder(
        encoding.model_name,
        device=encoding.device,
        precision=encoding.precision,
        resize=encoding.resize,
    )


def encode_with(
    encoder: Encoder,
    dataset: IndexedDataset,
    encoding: Encoding,
    *,
    view_rows: Sequence[int] | None = None,
) -> EncodedDataset:
    """The same with an encoder that is loaded already, as `encoding` says."""
    store = _described_store(encoder, dataset, encoding)
    index = read_index(dataset)
    wanted = _wanted_views(index, encoding, view_rows)
    made = _encode_missing(encoder, store, index, wanted=wanted, processes=encoding.processes)
    n_prompts = _encode_prompts(encoder, store, prompts_of(dataset))
    _merge_small_files(store)
    return EncodedDataset(
        dataset=dataset,
        model=encoding.model_name,
        encoder=encoder.fingerprint,
        precision=encoding.precision,
        logit_scale=encoder.logit_scale,
        n_reused=made.n_reused,
        n_encoded=made.n_encoded,
        n_prompts_encoded=n_prompts,
        seconds=made.seconds,
        augmented_views=tuple(encoding.view_numbers[1:]),
    )


def _described_store(encoder: Encoder, dataset: IndexedDataset, encoding: Encoding) -> FeatureStore:
    store = FeatureStore(dataset.root, encoder.fingerprint, on_damage=set_aside_and_say)
    store.description()  # says what is damaged; writing would only put it right in silence
    about = {"model": encoding.model_name, "logit_scale": repr(encoder.logit_scale)}
    store.describe({**encoder.identity.fields(), **about})
    return store


def _encode_missing(
    encoder: Encoder,
    store: FeatureStore,
    index: DatasetIndex,
    *,
    wanted: Mapping[bytes, tuple[int, ...]],
    processes: int,
) -> EncodedPart:
    """Look what is missing, encode it and write it."""
    paths = dict(zip(index.image_sha256, index.paths, strict=True))
    missing = _missing(store, wanted)
    what = f"{index.source.name} with {encoder.name}"
    with turn_to_encode(what) if missing else nullcontext():
        # Asked again: whoever had the turn before may have encoded the same images.
        missing = missing and _missing(store, wanted)
        todo = [WantedViews(paths[digest], digest, lacking) for digest, lacking in missing.items()]
        n_missing = sum(len(each.views) for each in todo)
        start = time.perf_counter()
        if todo:
            _encode_images(encoder, store, index.source.folder, todo, processes=processes)
    return EncodedPart(
        n_encoded=n_missing,
        n_reused=sum(map(len, wanted.values())) - n_missing,
        seconds=time.perf_counter() - start if todo else 0.0,
    )


def _wanted_views(
    index: DatasetIndex, encoding: Encoding, view_rows: Sequence[int] | None
) -> dict[bytes, tuple[int, ...]]:
    """Which views each distinct image is to have."""
    everything = tuple(encoding.view_numbers)
    if view_rows is None:
        return dict.fromkeys(index.image_sha256, everything)
    chosen = {index.image_sha256[row] for row in view_rows}
    return {digest: everything if digest in chosen else (0,) for digest in index.image_sha256}


def _missing(
    store: FeatureStore, wanted: Mapping[bytes, tuple[int, ...]]
) -> dict[bytes, tuple[int, ...]]:
    """What of that is not at rest; images that want the same views are looked for together."""
    groups: dict[tuple[int, ...], list[bytes]] = {}
    for digest, views in wanted.items():
        groups.setdefault(views, []).append(digest)
    missing: dict[bytes, tuple[int, ...]] = {}
    for views, digests in groups.items():
        missing |= store.missing_views(digests, views=views)
    return missing


def prompts_of(dataset: IndexedDataset) -> list[str]:
    """Every prompt of a dataset: class by class, template by template."""
    return [
        template.replace("{}", name)
        for name in dataset.class_names
        for template in dataset.templates
    ]


def _encode_images(
    encoder: Encoder,
    store: FeatureStore,
    folder: Path,
    wanted: list[WantedViews],
    *,
    processes: int,
) -> None:
    total = sum(len(each.views) for each in wanted)
    loaded = load_ahead(folder, wanted, geometry=encoder.geometry, processes=processes)
    with (
        track(f"encoding with {encoder.name}", total=total, unit="images") as advance,
        FeatureWriter(encoder, store, advance) as writer,
    ):
        for each in loaded:
            writer.add(each)


def _encode_prompts(encoder: Encoder, store: FeatureStore, prompts: list[str]) -> int:
    if not store.missing_prompts(prompts):
        return 0
    with turn_to_encode(f"prompts with {encoder.name}"):
        missing = store.missing_prompts(prompts)  # somebody else may have had the turn before
        if missing:
            store.append_prompts(missing, encoder.encode_prompts(missing))
    return len(missing)


def _merge_small_files(store: FeatureStore) -> None:
    for folder in stored_folders(store.root):
        if folder.owner == store.encoder and folder.has_features:
            compact_folder(folder, at_least=FILES_WORTH_MERGING, on_damage=set_aside_and_say)
