"""What identifies a feature: an image's digest and view, or a prompt; and safe folder names."""

import re
from collections.abc import Sequence

import pyarrow as pa

from feature_cache.errors import InvalidKeyError, UnsafeNameError

_DIGEST_BYTES = 32
_MAX_VIEW = 2**15 - 1
_ENCODER = re.compile(r"[0-9a-f]{8,64}")
_DATASET = re.compile(r"[a-z0-9][a-z0-9._-]*")


def image_keys(image_sha256: Sequence[bytes]) -> pa.Array:
    """Image digests as an Arrow array of 32-byte values.

    Raises:
        InvalidKeyError: One of them is not 32 bytes.
    """
    for position, digest in enumerate(image_sha256):
        if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
            raise InvalidKeyError(
                f"image digest {position} is {digest!r:.80}, expected {_DIGEST_BYTES} bytes: "
                "the raw SHA-256 of the image file, not its hexadecimal form"
            )
    return pa.array(image_sha256, pa.binary(_DIGEST_BYTES))


def prompt_keys(prompts: Sequence[str]) -> pa.Array:
    """Prompts as an Arrow array of strings.

    Raises:
        InvalidKeyError: A lone string instead of a list, or one that is not valid text.
    """
    if isinstance(prompts, str):
        raise InvalidKeyError(f"prompts are the one string {prompts!r}, expected a list of strings")
    for position, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not _is_unicode(prompt):
            raise InvalidKeyError(f"prompt {position} is {prompt!r:.80}, expected valid text")
    return pa.array(prompts, pa.string())


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def check_view(view: int) -> int:
    """`view` itself: 0 is the evaluation view, v >= 1 the v-th training augmentation.

    Raises:
        InvalidKeyError: Negative, or above 32767.
    """
    if not 0 <= view <= _MAX_VIEW:
        raise InvalidKeyError(f"view is {view}, expected 0 to {_MAX_VIEW}")
    return view


def check_views(views: Sequence[int]) -> list[int]:
    """The views themselves, each checked as by `check_view`."""
    return [check_view(int(view)) for view in views]


def check_encoder(encoder: str) -> None:
    """Refuse a fingerprint that is not plain hexadecimal, since it becomes a folder name.

    Raises:
        UnsafeNameError: Anything but 8 to 64 lower-case hexadecimal digits.
    """
    if not _ENCODER.fullmatch(encoder):
        raise UnsafeNameError(
            f"encoder fingerprint is {encoder!r}, expected 8 to 64 lower-case hexadecimal digits"
        )


def check_dataset(dataset: str) -> None:
    """Refuse a dataset name that is not a safe folder name.

    Raises:
        UnsafeNameError: Anything but lower-case letters, digits, and `.`, `_`, `-` inside.
    """
    if not _DATASET.fullmatch(dataset):
        raise UnsafeNameError(
            f"dataset name is {dataset!r}, expected lower-case letters, digits and . _ - "
            "beginning with a letter or digit"
        )
