"""From an upright RGB picture to the pixels of one view: the model's own, or a training crop."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from clip_adapter.errors import UnknownNameError
from clip_adapter.images.augmentations import draw_crop
from clip_adapter.images.errors import ViewError

ResizeMode = Literal["shortest", "longest", "squash"]
Interpolation = Literal["bicubic", "bilinear", "random"]

MAX_RESIZED_PIXELS = 64_000_000
"""A ribbon of 1 x 50,000 pixels would grow to 10 GB before all but its middle is cut away."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a picture becomes the pixels a model reads, in the words of open_clip's configuration.

    Attributes:
        size: Height and width in pixels.
        resize_mode: `shortest` resizes the short side and cuts out the middle (CLIP), `squash`
            resizes both sides (CoOp), `longest` resizes the long side and fills up.
        interpolation: `random` is bicubic here, as in open_clip outside of training.
        fill_color: Of what is filled up, 0 to 255.

    Raises:
        UnknownNameError: for another mode or interpolation.
        ViewError: for a side below one pixel or a fill colour out of range.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode = "shortest"
    interpolation: Interpolation = "bicubic"
    fill_color: int = 0

    def __post_init__(self) -> None:
        """Refuse what no view can be made with."""
        if self.resize_mode not in get_args(ResizeMode):
            raise UnknownNameError("resize mode", self.resize_mode, get_args(ResizeMode))
        if self.interpolation not in get_args(Interpolation):
            raise UnknownNameError("interpolation", self.interpolation, get_args(Interpolation))
        if min(self.size) < 1:
            raise ViewError(f"a view of {self.size} pixels; expected 1 or more a side")
        if not 0 <= self.fill_color <= 255:
            raise ViewError(f"fill_color is {self.fill_color}; expected 0 to 255")

    def pixels(
        self, picture: Image.Image, *, image_sha256: bytes, view: int = 0
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of one view.

        View 0 is open_clip's own for evaluation, bit for bit. The others are random resized
        crops, mirrored half of the time, that depend on nothing but the digest and the number.

        Args:
            picture: Upright, mode RGB.
            image_sha256: Of the image file, 32 bytes.
            view: 0, or a number out of `augmented_views`.

        Raises:
            ViewError: there is no such view.
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
            resampling = Image.Resampling.BICUBIC  # whatever is asked for: open_clip's transform
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
        """Resize the middle alone: the same but for rounding, in the room of the result."""
        size = (min(self.size[0], resized[0]), min(self.size[1], resized[1]))
        top, left = _start(resized[0] - size[0]), _start(resized[1] - size[1])
        down, across = picture.height / resized[0], picture.width / resized[1]
        right = min(picture.width, (left + size[1]) * across)
        bottom = min(picture.height, (top + size[0]) * down)
        box = (left * across, top * down, right, bottom)
        return self._centre(picture.resize(size[::-1], resampling, box=box))


def _start(excess: int) -> int:
    """Where the middle begins; halves go to the even side, as in torchvision."""
    return round(excess / 2)
