"""Features of images that are given as bytes, through the feature cache."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float, UInt8

from clip_adapter.encoders.features import can_be_normalised
from clip_adapter.errors import EncoderError, ImageError, UnreadableImageError
from clip_adapter.images import MAX_PIXELS, decode_image
from clip_adapter.pipeline.encode import merge_small_files
from clip_adapter.pipeline.encoder_lock import encoder_slot
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.image_inputs import Content, ImageGroup, image_files
from clip_adapter.pipeline.reporter import Reporter
from feature_cache import FeatureStore, Location

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder
    from clip_adapter.images import Geometry

IMAGES_AT_ONCE = 512
"""Largest number of images that are read and encoded together."""
BYTES_AT_ONCE = 128 * 2**20
"""Size of files at which fewer images are taken together."""

Named = tuple[str, Content]


@dataclass(kw_only=True)
class FeatureReader:
    """Features of images given as bytes, from the store where it has them, else encoded.

    Attributes:
        fingerprint: fingerprint of the encoder; empty if it has to be loaded to be known.
        load: function that returns the encoder; called when an image is to be encoded.
        encoding: the encoder by its name and options, to describe it in the store.
        root: location of the store; None if nothing is read from it or written to it.
        max_pixels: number of pixels above which an image is unreadable.
        reporter: where to report damaged files and what is waited for.
        n_encoded: number of distinct images that were encoded.
        n_reused: number of distinct images whose feature was stored already.
    """

    fingerprint: str
    load: "Callable[[], Encoder]"
    encoding: Encoding | None
    root: Location | None
    max_pixels: int = MAX_PIXELS
    reporter: Reporter
    n_encoded: int = 0
    n_reused: int = 0

    def __post_init__(self) -> None:
        self._seen: set[bytes] = set()

    def read(
        self, contents: Sequence[Content]
    ) -> list[Float[np.ndarray, " d"] | UnreadableImageError]:
        """The raw feature of each image, or why it has none, in order.

        Raises:
            EncoderError: the encoder cannot be loaded.
            DataError: the encoder is another than the classifier's.
            FeatureCacheError: the store cannot be read or written.
        """
        found: dict[bytes, Any] = {}
        digests = [
            hashlib.sha256(each).digest() if isinstance(each, bytes) else each for each in contents
        ]
        images = {
            digest: content
            for digest, content in zip(digests, contents, strict=True)
            if isinstance(digest, bytes)
        }
        stored = self._stored(list(images))
        missing = {digest: images[digest] for digest in images if digest not in stored}
        found = {**stored, **self._encode(missing)}
        self.n_reused += len(stored.keys() - self._seen)
        self._seen |= images.keys()
        return [found[each] if isinstance(each, bytes) else each for each in digests]

    def read_prompts(self, prompts: list[str]) -> Float[np.ndarray, "n d"]:
        """The raw text features of prompts, in order; those that were not stored are stored now.

        Raises:
            EncoderError: the encoder cannot be loaded.
            DataError: the encoder is another than the expected one.
            FeatureCacheError: the store cannot be read or written.
        """
        store = self._store
        missing = prompts if store is None else store.missing_prompts(prompts)
        if missing:
            encoder = self._encoder()
            with encoder_slot(f"prompts with {encoder.name}", self.reporter):
                features = encoder.encode_prompts(missing)
            if store is None:
                return features
            if self.encoding is not None:
                self.encoding.describe(store)
            store.append_prompts(missing, features)
        return cast("FeatureStore", store).read_prompts(prompts)

    def _encoder(self) -> "Encoder":
        """The encoder, whose features must belong into the store of the fingerprint."""
        encoder = self.load()
        if self.fingerprint and encoder.fingerprint != self.fingerprint:
            raise EncoderError(
                f"{encoder.name} is now encoder {encoder.fingerprint[:12]}, expected "
                f"{self.fingerprint[:12]}: its weights or options changed; look it up again (fit)"
            )
        return encoder

    @property
    def _store(self) -> FeatureStore | None:
        if self.root is None:
            return None
        fingerprint = self.fingerprint or self.load().fingerprint
        return FeatureStore(self.root, fingerprint, on_corruption=self.reporter.quarantine_file)

    def _stored(self, digests: Sequence[bytes]) -> dict[bytes, Float[np.ndarray, " d"]]:
        store = self._store
        if store is None or not digests:
            return {}
        missing = set(store.missing_images(digests))
        known = [digest for digest in digests if digest not in missing]
        if not known:
            return {}
        features = store.read_images(known).astype(np.float32, copy=False)
        return dict(zip(known, features, strict=True))

    def _encode(self, images: dict[bytes, Any]) -> dict[bytes, Any]:
        """The features of images that are not stored, which are stored, or why they have none."""
        unreadable = self._leading_unreadable(images)
        images = {key: each for key, each in images.items() if key not in unreadable}
        if not images:
            return unreadable
        encoder, store = self._encoder(), self._store
        decode = partial(_decode, geometry=encoder.geometry, max_pixels=self.max_pixels)
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
            decoded = dict(zip(images, pool.map(decode, images.values()), strict=True))
        found: dict[bytes, Any] = {**unreadable, **decoded}
        usable = [key for key, each in decoded.items() if isinstance(each, np.ndarray)]
        if not usable:
            return found
        with encoder_slot(f"images with {encoder.name}", self.reporter):
            features = encoder.encode_images(np.stack([found[key] for key in usable]))
        is_good = can_be_normalised(features)
        good = [key for key, is_so in zip(usable, is_good, strict=True) if is_so]
        found |= dict.fromkeys(
            set(usable) - set(good),
            UnreadableImageError(f"{encoder.name} makes zero, infinity or NaN of it"),
        )
        if store is not None and good:
            if not self.n_encoded and self.encoding is not None:
                self.encoding.describe(store)
            store.append_images(good, features[is_good])
        self.n_encoded += len(good)
        return found | dict(zip(good, features[is_good].astype(np.float32), strict=True))

    def _leading_unreadable(self, images: dict[bytes, Any]) -> dict[bytes, Any]:
        """The images before the first that decodes: if none does, the encoder need not be loaded."""
        found: dict[bytes, Any] = {}
        for digest, content in () if self.n_encoded else images.items():
            try:
                decode_image(content, max_pixels=self.max_pixels)
            except UnreadableImageError as error:
                found[digest] = error
            else:
                break
        return found

    def finish(self) -> None:
        """Merge the small files that were written, where they are many."""
        store = self._store
        if store is not None and self.n_encoded:
            merge_small_files(store, self.reporter)


def _decode(
    content: bytes, *, geometry: "Geometry", max_pixels: int
) -> UInt8[np.ndarray, "h w 3"] | UnreadableImageError:
    try:
        picture = decode_image(content, max_pixels=max_pixels)
    except UnreadableImageError as error:
        return error
    # The model's own view is the same for every digest.
    return geometry.pixels(picture, image_sha256=b"\0" * 32)


def features_of_files(
    paths: Sequence[str | Path], encoding: Encoding, *, root: Location, reporter: Reporter
) -> Float[np.ndarray, "n d"]:
    """The raw features of image files in their order, float32; what the store lacks is encoded.

    Args:
        paths: one path or more.
        encoding: the encoder by its name and options.
        root: location of the store.
        reporter: where to report progress and damaged files.

    Raises:
        ImageError: a file is missing or no image; the message names it.
        EncoderError: the model cannot be loaded.
        FeatureCacheError: the store cannot be read or written.
    """
    reader = FeatureReader(
        fingerprint=encoding.known.fingerprint if encoding.known and not encoding.is_loaded else "",
        load=lambda: encoding.encoder,
        encoding=encoding,
        root=root,
        reporter=reporter,
    )
    found: list[Any] = []
    with reporter.progress("reading features", total=len(paths), unit="images") as advance:
        for batch in batches([image_files([str(path) for path in paths])]):
            for (name, _), each in zip(
                batch, reader.read([each for _, each in batch]), strict=True
            ):
                if isinstance(each, UnreadableImageError):
                    raise ImageError(f"{name} cannot be used: {each.reason}")
                found.append(each)
            advance(len(batch))
    reader.finish()
    return np.stack(found)


def batches(groups: Iterable[ImageGroup]) -> Iterator[list[Named]]:
    """The images in order, as many at once as fit into memory; a single empty batch is never made."""
    batch: list[Named] = []
    n_bytes = 0
    for name, content in chain.from_iterable(
        zip(group.names, group.contents(), strict=True) for group in groups
    ):
        batch.append((name, content))
        n_bytes += len(content) if isinstance(content, bytes) else 0
        if len(batch) >= IMAGES_AT_ONCE or n_bytes >= BYTES_AT_ONCE:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch
