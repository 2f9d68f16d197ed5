"""How figures look, on a page and in print."""

import textwrap
import unicodedata
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
LEAST_LETTERS = 16
"""Least width of a figure, in sizes of its text."""
MOST_LINES = 4
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
        if pixels < LEAST_LETTERS * font_size * PIXELS_AN_INCH / POINTS_AN_INCH:
            raise ParameterError(
                f"text of {font_size:.4g} pt in a figure of {width:.4g} in leaves no room: expected a width of "
                f"{LEAST_LETTERS * font_size / POINTS_AN_INCH:.2f} in or more, or smaller text"
            )
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
        """About how wide a text is, in pixels, in bold letters of a wide font."""
        return 1.05 * self.font_size * sum(map(_em, text))

    def wrapped(self, text: str, width: float) -> list[str]:
        """A text in at most `MOST_LINES` lines of a width in pixels."""
        letters = max(4, int(width / (0.58 * self.font_size)))
        lines = textwrap.wrap(text, letters, max_lines=MOST_LINES, placeholder=" …")
        return lines or [text[:letters]]


PAGE = Style()
"""For a page: transparent, in the page's colour of text."""
DOCUMENT = Style(ink="#000000", background="#ffffff")
"""For a file that is shown by other programs, whatever their background."""


def _em(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in _NARROW:
        return 0.36
    return 0.9 if character in _WIDE else 0.72 if character.isupper() else 0.6
