"""How figures look, on a page and in print, and where their labels stand."""

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from clip_adapter.errors import ParameterError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008,
https://jfly.uni-koeln.de/color/), without yellow, which is hard to see on white."""
GAIN, LOSS = COLOURS[0], COLOURS[1]
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
DASHES = ([1, 0], [6, 3], [2, 2])
PIXELS_AN_INCH = 96
"""CSS pixels, the unit of SVG."""
POINTS_AN_INCH = 72
MM_AN_INCH = 25.4
LEAST_WIDTH, MOST_WIDTH = 200, 4000
MOST_LINES = 3
"""Lines of a label; a longer text ends in an ellipsis."""
_NARROW = frozenset("iljtfrI.,:;'|!()[]/- ")
_WIDE = frozenset("mwMW@%")


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a figure looks.

    Attributes:
        width: width of the whole figure, in CSS pixels.
        font_size: size of the text, in CSS pixels; lines and symbols grow with it.
        ink: colour of text and of what is to be seen first; `currentColor` is that of the page.
        grey: colour of what stays in the background.
        background: colour behind everything; None for a transparent figure.
        font: families of the text, the first that a machine has.
    """

    width: float = 720
    font_size: float = 13
    ink: str = "currentColor"
    # As far from white as from black: it is read on light and on dark pages.
    grey: str = "#7a7a7a"
    background: str | None = None
    font: str = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

    @classmethod
    def for_print(cls, *, width: float = 3.25, font_size: float = 8) -> Self:
        """Black on white, for a paper.

        Args:
            width: width of the whole figure in inches; a column of ACL or CVPR has 3.25.
            font_size: size of the text in points.

        Raises:
            ParameterError: the width or the size of the text is too small or too large.
        """
        pixels = width * PIXELS_AN_INCH
        if not LEAST_WIDTH <= pixels <= MOST_WIDTH:
            low, high = (each / PIXELS_AN_INCH for each in (LEAST_WIDTH, MOST_WIDTH))
            raise ParameterError(
                f"a figure of {width:.4g} in: expected a width from {low:.2f} to {high:.1f} inches"
            )
        if not 4 <= font_size <= 24:
            raise ParameterError(f"text of {font_size:.4g} pt: expected a size from 4 to 24 points")
        return cls(
            width=pixels,
            font_size=font_size * PIXELS_AN_INCH / POINTS_AN_INCH,
            ink="#000000",
            grey="#767676",
            background="#ffffff",
            font="Helvetica, Arial, 'Liberation Sans', sans-serif",
        )

    @property
    def unit(self) -> float:
        """Factor of the widths of lines and symbols."""
        return self.font_size / 13

    def text_width(self, text: str) -> float:
        """About how wide a text is, in pixels, somewhat more rather than less."""
        return self.font_size * sum(map(_em, text))

    def wrapped(self, text: str, width: float) -> list[str]:
        """A text in at most `MOST_LINES` lines of a width in pixels."""
        letters = max(4, int(width / (0.58 * self.font_size)))
        lines = textwrap.wrap(text, letters, max_lines=MOST_LINES, placeholder=" …")
        return lines or [text[:letters]]


PAGE = Style()
"""For a page: transparent, in the page's colour of text."""


def spread(
    centres: Sequence[float], heights: Sequence[float], *, low: float, high: float
) -> list[float]:
    """Positions closest to `centres`, in squares, at which labels do not overlap.

    Args:
        centres: where each label should be, in pixels.
        heights: height of each label.
        low: upper end of the column of labels.
        high: lower end; labels overhang it where all together are higher than the column.

    >>> spread([10, 11], [4, 4], low=0, high=100)
    [8.5, 12.5]
    """
    order = sorted(range(len(centres)), key=lambda place: (centres[place], place))
    stacked, total = {}, 0.0
    for place in order:
        stacked[place] = total + heights[place] / 2
        total += heights[place]
    # Labels do not overlap where the shift against the stack does not decrease: isotonic
    # regression, by pooling neighbours that are in the wrong order.
    pools: list[tuple[float, int]] = []
    for place in order:
        mean, count = centres[place] - stacked[place], 1
        while pools and pools[-1][0] > mean:
            before, n_before = pools.pop()
            mean = (mean * count + before * n_before) / (count + n_before)
            count += n_before
        pools.append((mean, count))
    shifts = [shift for shift, count in pools for _ in range(count)]
    most = max(low, high - total)
    found = {
        place: min(max(shift, low), most) + stacked[place]
        for place, shift in zip(order, shifts, strict=True)
    }
    return [found[place] for place in range(len(centres))]


def place_labels(
    centres: Sequence[float],
    heights: Sequence[float],
    *,
    n_required: int,
    low: float,
    high: float,
) -> list[float | None]:
    """Positions of labels without overlap; None for those that do not fit near their place.

    Args:
        centres: where each label should be, in pixels, the most important first.
        heights: height of each label.
        n_required: number of labels, the first ones, that are placed in any case.
        low: upper end of the column of labels.
        high: lower end.
    """
    kept = list(range(n_required))
    found = dict(
        zip(
            kept, spread(centres[:n_required], heights[:n_required], low=low, high=high), strict=True
        )
    )
    for place in range(n_required, len(centres)):
        tried = [*kept, place]
        positions = spread(
            [centres[each] for each in tried], [heights[each] for each in tried], low=low, high=high
        )
        moved = [
            abs(position - centres[each]) / heights[each]
            for each, position in zip(tried, positions, strict=True)
            if each >= n_required
        ]
        if sum(heights[each] for each in tried) <= high - low and max(moved) <= 1.5:
            kept, found = tried, dict(zip(tried, positions, strict=True))
    return [found.get(place) for place in range(len(centres))]


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.36
    return 0.9 if character in _WIDE else 0.72 if character.isupper() else 0.6
