"""Turn rows of a glyph bank into pictures, never twice the same."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from .bank import GlyphBank
from .degrade import Degradation, degrade

_DRAW = 48  # pixels of the picture in which strokes are drawn, before any down-sampling


@dataclass(frozen=True)
class Distortion:
    """How far a glyph may stray from its font: as far as print on paper that was badly held.

    Attributes:
        rotation: standard deviation in radians.
        shear: standard deviation of the sideways slant.
        stretch: standard deviation of the logarithm of width over height.
        bends: standard deviations of the elastic displacement, in half-widths of the picture,
            one for each grid of control points in `bend_grids`, coarse to fine.
        weight: how much strokes are thickened (or thinned, when negative), in half-widths.
        height: share of the picture's height that the glyph fills.
    """

    rotation: float = 0.08
    shear: float = 0.12
    stretch: float = 0.12
    bends: tuple[float, ...] = (0.04, 0.024)
    bend_grids: tuple[int, ...] = (3, 5)
    weight: tuple[float, float] = (-0.02, 0.07)
    height: tuple[float, float] = (0.6, 1.0)


@dataclass(frozen=True)
class Rendering:
    """All that decides how pictures come out, apart from chance: shape, damage, pixels a side."""

    image_size: int
    distortion: Distortion = field(default_factory=Distortion)
    degradation: Degradation = field(default_factory=Degradation)


def render(
    bank: GlyphBank, rows: Tensor, rendering: Rendering, *, generator: torch.Generator
) -> Tensor:
    """Draw the rows of the bank as grey pictures [n, 1, image_size, image_size] in 0..1.

    The same generator state gives the same pictures. The last step is the bicubic resize that
    the encoder's own preprocessing applies to a small picture.
    """
    ink = draw_ink(bank, rows, rendering.distortion, generator=generator)
    return degrade(ink, rendering.degradation, image_size=rendering.image_size, generator=generator)


def draw_ink(
    bank: GlyphBank, rows: Tensor, distortion: Distortion, *, generator: torch.Generator
) -> Tensor:
    """Draw the rows of the bank, distorted but sharp: 1 where ink is, [n, 1, 48, 48]."""
    n = len(rows)
    grid = _affine(n, distortion, generator) + _elastic(n, distortion, generator)
    outlines = grid_sample(
        bank.outlines[rows][:, None], grid, padding_mode="border", align_corners=False
    )
    weight = _uniform(n, distortion.weight, generator)[:, None, None, None]
    # One pixel of the drawing is 2 / _DRAW wide: an edge is blurred over one pixel.
    ink = (0.5 - (outlines - weight) * _DRAW / 2).clamp(0, 1)
    return _fit(ink, distortion, generator=generator)


def _affine(n: int, settings: Distortion, generator: torch.Generator) -> Tensor:
    """Sampling positions [n, 48, 48, 2] of a rotation, slant and stretch about the middle."""
    angle, slant, stretch = torch.randn(3, n, generator=generator)
    angle, slant = angle * settings.rotation, slant * settings.shear
    wide = (stretch * settings.stretch / 2).exp()
    cos, sin = angle.cos(), angle.sin()
    x_row = torch.stack([cos / wide + slant * sin, slant * cos * wide - sin, 0 * wide], dim=1)
    y_row = torch.stack([sin / wide, cos * wide, 0 * wide], dim=1)
    theta = torch.stack([x_row, y_row], dim=1)
    return torch.nn.functional.affine_grid(theta, [n, 1, _DRAW, _DRAW], align_corners=False)


def _elastic(n: int, settings: Distortion, generator: torch.Generator) -> Tensor:
    """Smooth random displacements [n, 48, 48, 2], each picture with its own strength."""
    total = torch.zeros(n, 2, _DRAW, _DRAW)
    for size, spread in zip(settings.bend_grids, settings.bends, strict=True):
        knots = torch.randn(n, 2, size, size, generator=generator) * spread
        total += interpolate(knots, size=_DRAW, mode="bicubic", align_corners=True)
    strength = torch.rand(n, 1, 1, 1, generator=generator) * 1.5
    return (total * strength).permute(0, 2, 3, 1)


def _fit(ink: Tensor, settings: Distortion, *, generator: torch.Generator) -> Tensor:
    """Crop each picture to its ink and let the ink fill the height that chance allots."""
    n = len(ink)
    x_low, x_high = _extent(ink.amax(dim=(1, 2)))
    y_low, y_high = _extent(ink.amax(dim=(1, 3)))
    fill = _uniform(n, settings.height, generator)
    half_y = (y_high - y_low) / 2 / fill
    # Height rules; what would then be wider than the picture is squeezed into it.
    half_x = torch.maximum(half_y, (x_high - x_low) / 2 / fill)
    slack_x = half_x - (x_high - x_low) / 2
    slack_y = half_y - (y_high - y_low) / 2
    jitter_x, jitter_y = torch.rand(2, n, generator=generator) * 2 - 1
    zero = torch.zeros(n)
    x_row = torch.stack([half_x, zero, (x_low + x_high) / 2 + jitter_x * slack_x], dim=1)
    y_row = torch.stack([zero, half_y, (y_low + y_high) / 2 + jitter_y * slack_y], dim=1)
    theta = torch.stack([x_row, y_row], dim=1)
    grid = torch.nn.functional.affine_grid(theta, list(ink.shape), align_corners=False)
    return grid_sample(ink, grid, align_corners=False)


def _extent(profile: Tensor) -> tuple[Tensor, Tensor]:
    """First and last inked position of each profile [n, size], in the grid's -1..1."""
    inked = (profile > 0.5).float()
    size = profile.shape[1]
    first = inked.argmax(dim=1)
    last = size - inked.flip(1).argmax(dim=1)
    return first / size * 2 - 1, last / size * 2 - 1


def _uniform(n: int, limits: tuple[float, float], generator: torch.Generator) -> Tensor:
    low, high = limits
    return low + (high - low) * torch.rand(n, generator=generator)
