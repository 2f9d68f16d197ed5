"""The pixels of one view of an image: the model's own view, or a random crop for training.

A crop is drawn from SHA-256 and exact arithmetic alone, so that it is equal on every machine.
"""

import hashlib
import struct
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from clip_adapter.errors import ImageError, UnknownNameError

ResizeMode = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear", "random"]

MAX_RESIZED_PIXELS = 64_000_000
"""A ribbon of 1 x 50,000 pixels would grow to 10 GB before all but its middle is cut away."""

Augmentation = Literal["tip-adapter", "coop"]
MAX_VIEWS = 9_999
"""Largest number of views of an image and an augmentation, so that all numbers fit an int16."""

_FORMAT_TAG = b"clip_adapter random resized crop 1\0"
# Number before the first view; smallest and largest area of a crop in hundredths of the picture.
_RECIPES: dict[Augmentation, tuple[int, int, int]] = {
    "tip-adapter": (0, 50, 100),
    "coop": (10_000, 8, 100),
}
_WIDEST = Fraction(4, 3)  # a crop's width over its height; the narrowest is the inverse
_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How an image is resized and cropped, with the names of open_clip's configuration.

    Attributes:
        size: height and width in pixels.
        resize_mode: `shortest` resizes the short side and cuts out the middle (CLIP), `squash`
            resizes both sides (CoOp), `longest` resizes the long side and fills up.
        interpolation: `bicubic`, `bilinear`, or `random`, which is bicubic here, as in open_clip
            outside of training.
        fill_color: grey level of the filled area, 0 to 255.

    Raises:
        UnknownNameError: there is no such mode or interpolation.
        ImageError: a side is below one pixel, or the fill colour is out of range.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    fill_color: int = 0

    def __post_init__(self) -> None:
        """Refuse values that no view can have."""
        if self.resize_mode not in get_args(ResizeMode):
            raise UnknownNameError("resize mode", self.resize_mode, get_args(ResizeMode))
        if self.interpolation not in get_args(Interpolation):
            raise UnknownNameError("interpolation", self.interpolation, get_args(Interpolation))
        if min(self.size) < 1:
            raise ImageError(f"a view of {self.size} pixels; expected 1 or more a side")
        if not 0 <= self.fill_color <= 255:
            raise ImageError(f"fill_color is {self.fill_color}; expected 0 to 255")

    def pixels(
        self, picture: Image.Image, *, image_sha256: bytes, view: int = 0
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of one view.

        View 0 is open_clip's for evaluation, bit for bit. The others are random resized crops,
        mirrored half of the time, that depend on nothing but the digest and the number.

        Args:
            picture: upright image in mode RGB.
            image_sha256: digest of the image file, 32 bytes.
            view: 0, or a number from `augmented_views`.

        Raises:
            ImageError: there is no such view.
        """
        seen = (
            self._whole(picture)
            if view == 0
            else self._crop(picture, image_sha256=image_sha256, view=int(view))
        )
        return np.array(seen)

    @property
    def _resampling(self) -> Image.Resampling:
        bilinear = self.interpolation == "bilinear"
        return Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC

    def _crop(self, picture: Image.Image, *, image_sha256: bytes, view: int) -> Image.Image:
        size = (picture.height, picture.width)
        crop = draw_crop(size, image_sha256=image_sha256, view=view)
        right, bottom = crop.left + crop.width, crop.top + crop.height
        part = picture.crop((crop.left, crop.top, right, bottom))
        part = part.resize(self.size[::-1], self._resampling)
        return ImageOps.mirror(part) if crop.flipped else part

    def _whole(self, picture: Image.Image) -> Image.Image:
        height, width = self._resized_size(picture.height, picture.width)
        resampling = self._resampling
        if self.resize_mode == "shortest" and self.size[0] != self.size[1]:
            resampling = (
                Image.Resampling.BICUBIC
            )  # whatever is requested, as open_clip's transform does
        if height * width > MAX_RESIZED_PIXELS:
            return self._middle_of_a_ribbon(picture, (height, width), resampling)
        resized = picture
        if (width, height) != picture.size:
            resized = picture.resize((width, height), resampling)
        return self._centre(resized)

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width before anything is cut off or filled up."""
        if self.resize_mode == "squash":
            return self.size
        if self.resize_mode == "shortest" and self.size[0] == self.size[1]:
            side, short = self.size[0], min(height, width)
            return (
                side if height == short else int(side * height / short),
                side if width == short else int(side * width / short),
            )
        ratios = (height / self.size[0], width / self.size[1])
        ratio = max(ratios) if self.resize_mode == "longest" else min(ratios)
        # open_clip fails where a side would vanish.
        return max(1, round(height / ratio)), max(1, round(width / ratio))

    def _centre(self, resized: Image.Image) -> Image.Image:
        height, width = self.size
        missing = (max(0, width - resized.width), max(0, height - resized.height))
        if any(missing):
            before = tuple(side // 2 for side in missing)
            after = tuple((side + 1) // 2 for side in missing)
            fill = (self.fill_color,) * 3
            resized = ImageOps.expand(resized, border=(*before, *after), fill=fill)
        left, top = _start(resized.width - width), _start(resized.height - height)
        return resized.crop((left, top, left + width, top + height))

    def _middle_of_a_ribbon(
        self, picture: Image.Image, resized: tuple[int, int], resampling: Image.Resampling
    ) -> Image.Image:
        """Resize the middle alone: equal up to rounding, in the memory of the result."""
        size = (min(self.size[0], resized[0]), min(self.size[1], resized[1]))
        top, left = _start(resized[0] - size[0]), _start(resized[1] - size[1])
        down, across = picture.height / resized[0], picture.width / resized[1]
        right = min(picture.width, (left + size[1]) * across)
        bottom = min(picture.height, (top + size[0]) * down)
        box = (left * across, top * down, right, bottom)
        return self._centre(picture.resize(size[::-1], resampling, box=box))


def _start(excess: int) -> int:
    """Start of the middle; halves go to the even side, as in torchvision."""
    return round(excess / 2)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A rectangle of an image in pixels, and whether it is mirrored after resizing."""

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
        ImageError: `n` is below 0 or above `MAX_VIEWS`.
        UnknownNameError: there is no augmentation of this name.
    """
    if augmentation not in _RECIPES:
        raise UnknownNameError("augmentation", augmentation, get_args(Augmentation))
    if not 0 <= n <= MAX_VIEWS:
        raise ImageError(f"{n} augmented views; expected 0 to {MAX_VIEWS:,}")
    before, _, _ = _RECIPES[augmentation]
    return range(before + 1, before + 1 + n)


def draw_crop(size: tuple[int, int], *, image_sha256: bytes, view: int) -> Crop:
    """The crop of one training view, equal on any machine and in any order.

    The area is a uniform share of the picture's, the aspect ratio log-uniform in 3/4 to 4/3,
    the place uniform. After ten crops that do not fit, the largest central one of an allowed
    ratio: torchvision's RandomResizedCrop. Mirrored with probability 1/2.

    Args:
        size: height and width of the image.
        image_sha256: digest of the image file, 32 bytes.
        view: number of the view, 1 to 9,999 or 10,001 to 19,999.

    Raises:
        ImageError: there is no training view of this number, or the digest is not 32 bytes long.
    """
    low, high = _areas_of(view)
    if len(image_sha256) != hashlib.sha256().digest_size:
        raise ImageError(f"image_sha256 has {len(image_sha256)} bytes; expected 32")
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
    raise ImageError(
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
    """A uniform share of the area between bounds in hundredths."""
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
