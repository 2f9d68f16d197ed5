"""Collects views into batches, encodes them, and writes their features every few seconds."""

import time
from collections.abc import Callable
from itertools import chain, compress
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from jaxtyping import Float, UInt8

from clip_adapter.encoders import can_be_normalised
from clip_adapter.errors import EncoderError
from clip_adapter.images import LoadedViews
from feature_cache import FeatureStore

if TYPE_CHECKING:
    from clip_adapter.encoders import Encoder

WRITE_EVERY_SECONDS = 2.0
"""Time between writes, and so the work that a crash can lose; one batch if that takes longer."""

ROWS_A_FILE = 4096


class _Key(NamedTuple):
    image_sha256: bytes
    view: int
    path: str


class FeatureWriter:
    """Encode the pixels of views in batches and store their features.

    A context manager: leaving it encodes and stores the rest. A batch is encoded when it is full, so
    that all batches but the last have one size, however many views an image has.
    """

    def __init__(
        self, encoder: "Encoder", store: FeatureStore, advance: Callable[[float], None]
    ) -> None:
        self._encoder, self._store, self._advance = encoder, store, advance
        self._keys: list[_Key] = []
        self._pixels: list[UInt8[np.ndarray, "h w 3"]] = []
        # Keys and features together, so that no interruption can separate them.
        self._encoded: list[tuple[list[_Key], Float[np.ndarray, "n d"]]] = []
        self._last_write = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Encode the rest unless an error was raised, and store everything that is encoded."""
        try:
            if error is None and self._pixels:
                self._encode(len(self._pixels))
        finally:
            self._write()

    def add(self, loaded: LoadedViews) -> None:
        """Add the views of one image."""
        wanted = loaded.wanted
        self._keys += [_Key(wanted.image_sha256, view, wanted.path) for view in wanted.views]
        self._pixels += list(loaded.pixels)
        while len(self._pixels) >= self._encoder.batch_size:
            self._encode(self._encoder.batch_size)
            if self._is_due():
                self._write()

    def _encode(self, size: int) -> None:
        features = self._encoder.encode_images(np.stack(self._pixels[:size]))
        keys = self._keys[:size]
        usable = can_be_normalised(features)
        # Good features are kept even if others of the batch are zero or not finite.
        self._encoded.append((list(compress(keys, usable)), features[usable]))
        del self._keys[:size], self._pixels[:size]
        self._advance(size)
        if not usable.all():
            raise EncoderError(_explain(list(compress(keys, ~usable)), self._encoder.name))

    def _is_due(self) -> bool:
        waited = time.monotonic() - self._last_write
        return waited >= WRITE_EVERY_SECONDS or self._n_encoded >= ROWS_A_FILE

    @property
    def _n_encoded(self) -> int:
        return sum(len(features) for _, features in self._encoded)

    def _write(self) -> None:
        if self._encoded:
            keys, features = zip(*self._encoded, strict=True)
            rows = list(chain.from_iterable(keys))
            if rows:
                digests, views = [key.image_sha256 for key in rows], [key.view for key in rows]
                self._store.append_images(digests, np.concatenate(features), view=views)
            # After an interruption before this line, equal rows are written as an equal file.
            self._encoded.clear()
        self._last_write = time.monotonic()


def _explain(broken: list[_Key], model: str) -> str:
    paths = list(dict.fromkeys(key.path for key in broken))
    return (
        f"{model} makes zero, infinity or NaN of {len(paths)} images, the first is {paths[0]!r}: take "
        "another precision, or remove the images if the picture is to blame; all others before are "
        "stored"
    )
