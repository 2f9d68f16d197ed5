"""Which part of a picture a training view shows, drawn from SHA-256 and exact arithmetic alone."""

import hashlib
import struct
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Literal, get_args

from clip_adapter.errors import UnknownNameError
from clip_adapter.images.errors import ViewError

Augmentation = Literal["tip-adapter", "coop"]
MAX_VIEWS = 9_999
"""Of one picture and one augmentation: so the number alone, an int16, tells which it is."""

_FORMAT_TAG = b"clip_adapter random resized crop 1\0"
# Number before the first view; smallest and largest area of a crop in hundredths of the picture.
_RECIPES: dict[Augmentation, tuple[int, int, int]] = {
    "tip-adapter": (0, 50, 100),
    "coop": (10_000, 8, 100),
}
_WIDEST = Fraction(4, 3)  # a crop's width over its height; the narrowest is the inverse
_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A rectangle of a picture, in its pixels, and whether it is mirrored after resizing."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool


def augmented_views(n: int, augmentation: Augmentation = "tip-adapter") -> range:
    """The numbers of the first `n` training views.

    `tip-adapter` shows 50-100 % of a picture's area (Tip-Adapter, arXiv 2207.09519, as
    published: views 1 to 9,999), `coop` 8-100 % (CoOp, arXiv 2109.01134: views 10,001 to 19,999).

    >>> augmented_views(2), augmented_views(2, "coop")
    (range(1, 3), range(10001, 10003))

    Raises:
        ViewError: `n` is below 0 or above `MAX_VIEWS`.
        UnknownNameError: no augmentation has this name.
    """
    if augmentation not in _RECIPES:
        raise UnknownNameError("augmentation", augmentation, get_args(Augmentation))
    if not 0 <= n <= MAX_VIEWS:
        raise ViewError(f"{n} augmented views; expected 0 to {MAX_VIEWS:,}")
    before, _, _ = _RECIPES[augmentation]
    return range(before + 1, before + 1 + n)


def draw_crop(size: tuple[int, int], *, image_sha256: bytes, view: int) -> Crop:
    """The crop of one training view; the same on any machine, in any order.

    The area is a uniform share of the picture's, the aspect ratio log-uniform in 3/4 to 4/3,
    the place uniform. After ten crops that do not fit, the largest central one of an allowed
    ratio: torchvision's RandomResizedCrop. Mirrored with probability 1/2.

    Args:
        size: Height and width of the picture.
        image_sha256: Of the image file, 32 bytes.
        view: 1 to 9,999 or 10,001 to 19,999.

    Raises:
        ViewError: no training view has this number, or the digest is not 32 bytes long.
    """
    low, high = _areas_of(view)
    if len(image_sha256) != hashlib.sha256().digest_size:
        raise ViewError(f"image_sha256 has {len(image_sha256)} bytes; expected 32")
    seed = _FORMAT_TAG + image_sha256 + view.to_bytes(2, "big")
    flipped = _draw(seed, 0)[0] >= 2**63
    for attempt in range(1, _TRIES + 1):
        area, aspect, top, left = _draw(seed, attempt)
        height, width = _shape(size, _between(low, high, area), aspect)
        if 0 < height <= size[0] and 0 < width <= size[1]:
            return Crop(
                top=top * (size[0] - height + 1) >> 64,
                left=left * (size[1] - width + 1) >> 64,
                height=height,
                width=width,
                flipped=flipped,
            )
    return _central(size, flipped=flipped)


def _areas_of(view: int) -> tuple[int, int]:
    for before, low, high in _RECIPES.values():
        if before < view <= before + MAX_VIEWS:
            return low, high
    raise ViewError(
        f"there is no training view {view}: they are 1 to {MAX_VIEWS:,} (tip-adapter) and "
        f"10,001 to {10_000 + MAX_VIEWS:,} (coop); take them from augmented_views"
    )


def _draw(seed: bytes, block: int) -> tuple[int, int, int, int]:
    """Four uniform integers of 64 bits."""
    first, second, third, fourth = struct.unpack(
        ">4Q", hashlib.sha256(seed + block.to_bytes(1, "big")).digest()
    )
    return first, second, third, fourth


def _between(low: int, high: int, draw: int) -> Fraction:
    """A uniform share of the area, from bounds in hundredths."""
    return Fraction(low, 100) + Fraction(high - low, 100) * Fraction(draw, 2**64)


def _shape(size: tuple[int, int], share: Fraction, aspect: int) -> tuple[int, int]:
    """Height and width of a crop with this share of the area."""
    # Decimal rounds ln, exp and sqrt correctly, where C libraries differ in the last bit.
    with localcontext(Context(prec=28)):
        area = share * size[0] * size[1]
        exponent = Decimal(2 * aspect - 2**64) / 2**64
        ratio = (exponent * (Decimal(_WIDEST.numerator) / _WIDEST.denominator).ln()).exp()
        pixels = Decimal(area.numerator) / area.denominator
        height, width = (pixels / ratio).sqrt(), (pixels * ratio).sqrt()
        return int(height.to_integral_value()), int(width.to_integral_value())


def _central(size: tuple[int, int], *, flipped: bool) -> Crop:
    height, width = size
    if width < height / _WIDEST:
        height = round(width * _WIDEST)
    elif width > height * _WIDEST:
        width = round(height * _WIDEST)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return Crop(top=top, left=left, height=height, width=width, flipped=flipped)
