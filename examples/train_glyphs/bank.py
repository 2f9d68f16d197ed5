"""Glyphs as distance fields, from which they can be drawn bold or light."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from .fonts import CHARACTERS, Style, draw

_COARSEN = 2  # distances are smooth: half the drawing's resolution keeps them


@dataclass(frozen=True)
class GlyphBank:
    """Glyphs of many styles.

    Attributes:
        outlines: signed distance to the glyph's edge, negative inside, in half-widths of the
            canvas, [n, 48, 48].
        characters: index into `CHARACTERS`, [n].
    """

    outlines: Tensor
    characters: Tensor

    def rows_of(self, character: str) -> Tensor:
        """The rows that show a character, in the order of the styles."""
        return (self.characters == CHARACTERS.index(character)).nonzero()[:, 0]


def build_bank(styles: Iterable[Style]) -> GlyphBank:
    """Draw all characters of the styles and measure their distance fields: a few seconds."""
    drawn = [
        (CHARACTERS.index(character), ink) for style in styles for character, ink in draw(style)
    ]
    distances = torch.from_numpy(np.stack([_signed_distance(ink) for _, ink in drawn])).float()
    half_width = distances.shape[-1] / 2
    coarse = torch.nn.functional.avg_pool2d(distances[:, None], _COARSEN)[:, 0]
    return GlyphBank(
        outlines=coarse / half_width,
        characters=torch.tensor([index for index, _ in drawn]),
    )


def _signed_distance(ink: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(distance_transform_edt(~ink) - distance_transform_edt(ink))
