"""What a poor camera does to a drawing: few pixels, blur, weak contrast, noise, either polarity."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, interpolate, pad


@dataclass(frozen=True)
class Degradation:
    """How much of a drawing is lost on the way to a small grey picture.

    Attributes:
        sizes: pixels a side that a picture may be reduced to, each equally likely.
        blur: share of pictures that are blurred over their neighbouring pixels.
        dark_ink: share of pictures with dark ink on bright paper.
        ink_contrast: lowest contrast between ink and paper, of 1.
        noise: highest standard deviation of the pixel noise.
        gamma: spread of the logarithm of the tone curve's exponent.
    """

    sizes: tuple[int, ...] = (8, 10, 12, 14, 16, 20, 24, 28)
    blur: float = 0.3
    dark_ink: float = 0.5
    ink_contrast: float = 0.4
    noise: float = 0.08
    gamma: float = 0.3


def degrade(
    ink: Tensor, settings: Degradation, *, image_size: int, generator: torch.Generator
) -> Tensor:
    """Reduce drawings [n, 1, h, w] and bring them to [n, 1, image_size, image_size], all in 0..1."""
    size_of = torch.randint(len(settings.sizes), (len(ink),), generator=generator)
    out = torch.empty(len(ink), 1, image_size, image_size)
    for choice, size in enumerate(settings.sizes):
        chosen = (size_of == choice).nonzero()[:, 0]
        if len(chosen):
            small = adaptive_avg_pool2d(ink[chosen], size)
            small = _expose(_blur(small, settings, generator), settings, generator)
            out[chosen] = _enlarge(small, image_size)
    return out


def _blur(pictures: Tensor, settings: Degradation, generator: torch.Generator) -> Tensor:
    n = len(pictures)
    side = torch.rand(n, generator=generator) * (torch.rand(n, generator=generator) < settings.blur)
    side = side[:, None, None] * 0.25
    line = torch.cat([side, 1 - 2 * side, side], dim=2)
    kernels = (line.transpose(1, 2) @ line)[:, None]
    padded = pad(pictures, (1, 1, 1, 1), mode="replicate")
    blurred: Tensor = conv2d(padded.transpose(0, 1), kernels, groups=n).transpose(0, 1)
    return blurred


def _expose(ink: Tensor, settings: Degradation, generator: torch.Generator) -> Tensor:
    n = len(ink)
    contrast, paper, dark, level = torch.rand(4, n, 1, 1, 1, generator=generator)
    bend = torch.randn(n, 1, 1, 1, generator=generator) * settings.gamma
    contrast = settings.ink_contrast + (1 - settings.ink_contrast) * contrast.sqrt()
    grey = paper.pow(3) * (1 - contrast) + contrast * ink.clamp(0, 1).pow(bend.exp())
    grey = torch.where(dark < settings.dark_ink, 1 - grey, grey)
    noise = torch.randn(ink.shape, generator=generator) * settings.noise * level.pow(2)
    exposed: Tensor = ((grey + noise).clamp(0, 1) * 255).round() / 255
    return exposed


def _enlarge(pictures: Tensor, image_size: int) -> Tensor:
    # antialias=True selects Pillow's bicubic kernel, which is what preprocessing uses.
    shape = (image_size, image_size)
    resized: Tensor = interpolate(pictures, size=shape, mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
