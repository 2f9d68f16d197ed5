"""Which characters exist in which styles: the fonts that matplotlib ships, and nothing else."""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CANVAS = 96  # pixels
_GLYPH = 64  # pixels of the longer side; the rest of the canvas is room for thicker strokes
_LETTERS = string.ascii_letters


@dataclass(frozen=True)
class Style:
    """One way to write some characters: a font file and, maybe, a mathematical alphabet in it.

    `digits_from` and `capitals_from` are the code points of "0" and "A" in that alphabet
    (https://www.unicode.org/charts/PDF/U1D400.pdf); the small letters follow the capitals.
    """

    name: str
    file: str
    characters: str = CHARACTERS
    digits_from: int = ord("0")
    capitals_from: int | None = None

    def code_point(self, character: str) -> str:
        """The character that this style's font draws in place of an ordinary one."""
        if character.isdigit():
            return chr(self.digits_from + int(character))
        if self.capitals_from is None:
            return character
        order = string.ascii_uppercase + string.ascii_lowercase
        return chr(self.capitals_from + order.index(character))


def _plain(stem: str, characters: str = CHARACTERS) -> Style:
    return Style(stem, f"{stem}.ttf", characters)


# Unicode left holes in the double-struck alphabet: C, H, N, P, Q, R, Z live elsewhere.
_DOUBLE_STRUCK = "".join(c for c in CHARACTERS if c not in "CHNPQRZ")

STYLES = (
    *(_plain(f"DejaVuSans{cut}") for cut in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(_plain(f"DejaVuSansMono{cut}") for cut in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(_plain(f"DejaVuSerif{cut}") for cut in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(_plain(f"STIXGeneral{cut}") for cut in ("", "Bol", "Italic", "BolIta")),
    *(_plain(stem) for stem in ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10")),
    _plain("cmmi10", _LETTERS),
    _plain("cmsy10", string.ascii_uppercase),
    Style("STIX-double-struck", "STIXGeneral.ttf", _DOUBLE_STRUCK, 0x1D7D8, 0x1D538),
    Style("STIX-sans", "STIXGeneral.ttf", CHARACTERS, 0x1D7E2, 0x1D5A0),
    Style("STIX-sans-bold", "STIXGeneral.ttf", CHARACTERS, 0x1D7EC, 0x1D5D4),
    Style("STIX-mono", "STIXGeneral.ttf", CHARACTERS, 0x1D7F6, 0x1D670),
    Style("STIX-sans-italic", "STIXGeneral.ttf", _LETTERS, capitals_from=0x1D608),
)

# Never trained on: a sans, an italic and a typewriter face.
HELD_OUT = frozenset({"cmss10", "cmti10", "STIX-mono"})

# Never trained on either, and unlike all that is: letterforms to learn from a few examples.
# Unicode left holes in Fraktur too: C, H, I, R, Z live elsewhere.
STRANGE_ALPHABETS = (
    Style(
        "STIX-fraktur",
        "STIXGeneral.ttf",
        "".join(c for c in _LETTERS if c not in "CHIRZ"),
        capitals_from=0x1D504,
    ),
    Style("STIX-fraktur-bold", "STIXGeneral.ttf", _LETTERS, capitals_from=0x1D56C),
    Style("STIX-script-bold", "STIXGeneral.ttf", _LETTERS, capitals_from=0x1D4D0),
)


def styles(*, held_out: bool) -> tuple[Style, ...]:
    """The styles to train on, or those kept aside to choose settings with."""
    return tuple(style for style in STYLES if (style.name in HELD_OUT) == held_out)


def draw(style: Style) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Every character of a style with its picture: True where ink is, [96, 96], centred.

    The longer side of a glyph spans 64 pixels, so that all characters come out equally large.
    """
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / style.file
    font = ImageFont.truetype(str(path), 4 * _GLYPH)
    for character in style.characters:
        yield character, _draw_one(font, style.code_point(character))


def _draw_one(font: ImageFont.FreeTypeFont, text: str) -> NDArray[np.bool_]:
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    page = Image.new("L", (right - left + 2, bottom - top + 2))
    ImageDraw.Draw(page).text((1 - left, 1 - top), text, font=font, fill=255)
    glyph = page.crop(page.getbbox())
    scale = _GLYPH / max(glyph.size)
    width, height = (max(1, round(side * scale)) for side in glyph.size)
    canvas = Image.new("L", (_CANVAS, _CANVAS))
    canvas.paste(
        glyph.resize((width, height), Image.Resampling.BOX),
        ((_CANVAS - width) // 2, (_CANVAS - height) // 2),
    )
    return np.asarray(canvas) > 127
