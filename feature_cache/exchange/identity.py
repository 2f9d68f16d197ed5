"""What identifies a feature whose image nobody has: its own bytes."""

import hashlib

import numpy as np

from feature_cache.vectors import Features

_TAG = b"clip-adapter.feature-row.1"


def row_ids(features: Features) -> tuple[bytes, ...]:
    """For each of n rows, 32 bytes that stand where an image's digest would stand.

    `id = SHA-256(tag, NUL, "<f4" or "<f2", NUL, width in decimal, NUL, the row's bytes)`, with the
    row in little-endian order. Content decides: importing the same values twice stores them once.
    Such an id is NOT the digest of an image file, and no image will ever be found under it.

    Args:
        features: `[n, d]`, float32 or float16, in any byte order and memory layout.
    """
    kind = features.dtype.newbyteorder("<")
    head = b"\0".join([_TAG, kind.str.encode(), str(features.shape[1]).encode(), b""])
    return tuple(
        hashlib.sha256(head + np.ascontiguousarray(row, kind).tobytes()).digest()
        for row in features
    )
