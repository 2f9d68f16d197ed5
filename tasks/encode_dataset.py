"""Encode the images and prompts of a dataset that have no feature yet."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from clip_adapter.datasets import DatasetError
from clip_adapter.encoders import Encoder, load_encoder
from clip_adapter.images import UnreadableImageError, decode_image, read_bytes
from feature_cache import FeatureStore
from tasks.progress import track
from tasks.references import EncodedDataset, IndexedDataset
from tasks.stored_indexes import read_index

__all__ = ["encode_dataset", "prompts_of"]

IMAGES_A_FILE = 512
"""How many features are written at once: what a crash can lose."""


@task(name="encode-dataset", cache_policy=NO_CACHE, result_serializer="json")
def encode_dataset(dataset: IndexedDataset, *, model: str, device: str = "cpu") -> EncodedDataset:
    """Encode what the cache lacks; what it holds is never encoded again.

    Args:
        dataset: an indexed dataset.
        model: a name `load_encoder` knows.
        device: where to encode, in torch's spelling.

    Raises:
        DatasetError: an image file changed or vanished after it was indexed.
    """
    encoder = load_encoder(model, device=device)
    store = FeatureStore(dataset.root, encoder.fingerprint)
    store.describe({**encoder.identity.fields(), "model": model})
    index = read_index(dataset)
    paths = dict(zip(index.image_sha256, index.paths, strict=True))
    missing = store.missing_images(index.image_sha256)
    start = time.perf_counter()
    if missing:
        _encode_images(
            encoder, store, [_Picture(dataset.folder, paths[digest], digest) for digest in missing]
        )
    return EncodedDataset(
        dataset=dataset,
        model=model,
        encoder=encoder.fingerprint,
        logit_scale=encoder.logit_scale,
        n_reused=len(paths) - len(missing),
        n_encoded=len(missing),
        n_prompts_encoded=_encode_prompts(encoder, store, prompts_of(dataset)),
        seconds=time.perf_counter() - start if missing else 0.0,
    )


def prompts_of(dataset: IndexedDataset) -> list[str]:
    """Every prompt of a dataset: class by class, template by template."""
    return [
        template.replace("{}", name)
        for name in dataset.class_names
        for template in dataset.templates
    ]


@dataclass(frozen=True)
class _Picture:
    folder: Path
    path: str
    image_sha256: bytes


def _encode_images(encoder: Encoder, store: FeatureStore, pictures: list[_Picture]) -> None:
    title = f"encoding with {encoder.name}"
    with track(title, total=len(pictures), unit="images") as advance:
        for chunk in _chunks(pictures, IMAGES_A_FILE):
            batches = _chunks(chunk, encoder.batch_size)
            features = []
            for pixels in _decode_ahead(encoder, batches):
                features.append(encoder.encode_images(pixels))
                advance(len(pixels))
            digests = [picture.image_sha256 for picture in chunk]
            store.append_images(digests, np.concatenate(features))


def _decode_ahead(encoder: Encoder, batches: list[list[_Picture]]) -> Iterator[np.ndarray]:
    """Yield the pixels of each batch, while the next one is being decoded in a thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        coming = pool.submit(_decode, encoder, batches[0])
        for following in batches[1:]:
            ready = coming.result()
            coming = pool.submit(_decode, encoder, following)
            yield ready
        yield coming.result()


def _decode(encoder: Encoder, pictures: list[_Picture]) -> np.ndarray:
    return np.stack(
        [
            encoder.geometry.pixels(decode_image(_read(picture)), image_sha256=picture.image_sha256)
            for picture in pictures
        ]
    )


def _read(picture: _Picture) -> bytes:
    try:
        data = read_bytes(picture.folder, picture.path)
    except UnreadableImageError as error:
        raise _changed(picture) from error
    if hashlib.sha256(data).digest() != picture.image_sha256:
        raise _changed(picture)
    return data


def _changed(picture: _Picture) -> DatasetError:
    return DatasetError(
        f"{picture.path} in {picture.folder} is not the file that was indexed a moment ago: "
        "run again when nobody changes the folder"
    )


def _encode_prompts(encoder: Encoder, store: FeatureStore, prompts: list[str]) -> int:
    missing = store.missing_prompts(prompts)
    if missing:
        store.append_prompts(missing, encoder.encode_prompts(missing))
    return len(missing)


def _chunks(items: list[_Picture], size: int) -> list[list[_Picture]]:
    return [items[first : first + size] for first in range(0, len(items), size)]
