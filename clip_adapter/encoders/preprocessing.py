"""The preprocessing of a model: the geometry of its pixels and their normalisation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import open_clip
import torch
from jaxtyping import Float, UInt8
from open_clip.transform import PreprocessCfg
from torch import Tensor

from clip_adapter.encoders.fingerprint import canonical_json
from clip_adapter.images import Geometry, Interpolation, ResizeMode

Channels = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The way from an image to the input of the image tower.

    Attributes:
        geometry: size, resize mode and interpolation of the pixels.
        mean: mean of each channel, in 0 to 1.
        std: standard deviation of each channel.
    """

    geometry: Geometry
    mean: Channels
    std: Channels

    def canonical(self) -> str:
        """Canonical JSON with open_clip's names, for the identity of an encoder."""
        geometry = self.geometry
        bilinear = geometry.interpolation == "bilinear"
        return canonical_json(
            {
                "size": geometry.size,
                "resize_mode": geometry.resize_mode,
                "interpolation": "bilinear" if bilinear else "bicubic",
                "fill_color": geometry.fill_color,
                "mean": self.mean,
                "std": self.std,
            }
        )

    def normalise(self, pixels: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
        """`(pixels / 255 - mean) / std` in float32: the bits of torchvision's transforms.

        The result has the channels innermost in memory, as the pixels have.
        """
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
            for values in (self.mean, self.std)
        )
        return pixels.permute(0, 3, 1, 2).to(torch.float32).div_(255).sub_(mean).div_(std)


def preprocessing_of(
    model: Any, *, found: Mapping[str, Any] | None = None, resize: str | None = None
) -> Preprocessing:
    """The preprocessing of a loaded open_clip model.

    Args:
        model: the model, which knows its size.
        found: fields that are known better than the model knows them, as `find_settings` finds them.
        resize: another resize mode.

    Raises:
        UnknownNameError: open_clip has no such resize mode or interpolation.
    """
    asked: dict[str, Any] = {**open_clip.get_model_preprocess_cfg(model), **(found or {})}
    config = PreprocessCfg(**{name: value for name, value in asked.items() if value is not None})
    height, width = np.broadcast_to(config.size, 2).tolist()
    return Preprocessing(
        geometry=Geometry(
            size=(height, width),
            # Geometry refuses an unknown mode.
            resize_mode=cast("ResizeMode", resize or config.resize_mode),
            interpolation=cast("Interpolation", config.interpolation),
            fill_color=config.fill_color,
        ),
        mean=_channels(config.mean),
        std=_channels(config.std),
    )


def _channels(values: Any) -> Channels:
    """Values of the three channels; a single value is that of each, as in open_clip."""
    red, green, blue = np.broadcast_to(values, 3).tolist()
    return red, green, blue
