"""Contact sheets: a few images of every class of a dataset, as one page of HTML or one PNG."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import combining, normalize

import pyarrow as pa

from clip_adapter.errors import ParameterError
from feature_cache import storage

if TYPE_CHECKING:  # who only lists datasets draws nothing
    from PIL import Image, ImageDraw

CELL_PIXELS = 96
"""Largest width and height of a thumbnail."""
_GAP, _LINE_PIXELS, _MARGIN = 8, 20, 16
_SUFFIXES = (".html", ".htm", ".png")


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """A small image, or the gap of one that cannot be shown.

    Attributes:
        path: path of the image, relative to the folder of its dataset.
        split: split of the image.
        image: the image in RGB, at most `CELL_PIXELS` wide and high; None for a gap.
        gap: why it cannot be shown; empty if it is.
        note: words beside the path, instead of the split.
    """

    path: str
    split: str
    image: "Image.Image | None" = None
    gap: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A class, or another group of images, on a contact sheet.

    Attributes:
        class_name: name of the class as it appears in a prompt, or of the group.
        counts: number of its images by split.
        thumbnails: some of its images.
    """

    class_name: str
    counts: Mapping[str, int]
    thumbnails: tuple[Thumbnail, ...]

    @property
    def heading(self) -> str:
        """Name of the class and the number of its images in each split."""
        counts = ", ".join(f"{count:,} {split}" for split, count in self.counts.items() if count)
        return f"{self.class_name}: {counts or 'no images'}"


@dataclass(frozen=True, kw_only=True)
class ContactSheet:
    """Images of the classes of a dataset, or of other groups.

    Attributes:
        title: name of the dataset.
        source: folder of the images.
        rows: classes in the order of their labels.
        n_more_classes: number of classes that are not shown.
        about: sentences that say what the images are, instead of the number of classes.
    """

    title: str
    source: str
    rows: tuple[Row, ...]
    n_more_classes: int = 0
    about: str = ""

    @property
    def n_shown(self) -> int:
        """Number of images that are shown."""
        return sum(each.image is not None for row in self.rows for each in row.thumbnails)

    @property
    def n_gaps(self) -> int:
        """Number of images that are gone, changed or unreadable."""
        return sum(len(row.thumbnails) for row in self.rows) - self.n_shown

    @property
    def caption(self) -> str:
        """What the sheet shows, in a sentence."""
        parts = [self.about or f"{self.n_shown:,} images of {len(self.rows):,} classes"]
        if self.n_more_classes:
            parts.append(f"classes not shown: {self.n_more_classes:,}")
        if self.n_gaps:
            parts.append(f"images gone, changed or unreadable: {self.n_gaps:,}")
        return "; ".join(parts)


def check_page(page: Path) -> None:
    """Raise unless a contact sheet can be written to a file of this name.

    Raises:
        ParameterError: its name ends in none of .html, .htm and .png.
    """
    if page.suffix.casefold() not in _SUFFIXES:
        raise ParameterError(
            f"{page.name!r:.80} names no page: a contact sheet is an .html or a .png file"
        )


def write_contact_sheet(sheet: ContactSheet, page: Path) -> None:
    """Write a contact sheet as one HTML file that contains its images, or as a PNG.

    The PNG has names in ASCII: accents are left out, and other characters escaped.

    Raises:
        ParameterError: the name of the file ends in none of .html, .htm and .png.
        OSError: the disk failed; the file is unchanged.
    """
    check_page(page)
    if page.suffix.casefold() == ".png":
        content = _encoded(_drawn(sheet), "PNG")
    else:
        content = html_of(sheet).encode()
    storage.write_atomic(page, pa.py_buffer(content))


def html_of(sheet: ContactSheet) -> str:
    """The contact sheet as a page that contains its images; every text is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # takes time

    environment = Environment(
        loader=PackageLoader("clip_adapter.report"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["address"] = _address
    template = environment.get_template("contact_sheet.html.jinja")
    return template.render(sheet=sheet, size=CELL_PIXELS)


def _address(image: "Image.Image") -> str:
    return f"data:image/png;base64,{base64.b64encode(_encoded(image, 'PNG')).decode('ascii')}"


def _encoded(image: "Image.Image", kind: str) -> bytes:
    file = BytesIO()
    image.save(file, kind, optimize=True)
    return file.getvalue()


def _drawn(sheet: ContactSheet) -> "Image.Image":
    """The contact sheet as an image: a line of text and a line of thumbnails for each class."""
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # as above

    font = ImageFont.load_default(size=14)
    lines = [f"{sheet.title}: {sheet.caption}", *(row.heading for row in sheet.rows)]
    lines = [_ascii(line) for line in lines]
    columns = max((len(row.thumbnails) for row in sheet.rows), default=0)
    width = max(columns * (CELL_PIXELS + _GAP), *(int(font.getlength(each)) for each in lines))
    row_height = _LINE_PIXELS + CELL_PIXELS + _GAP
    height = 2 * _MARGIN + 2 * _LINE_PIXELS + row_height * len(sheet.rows)
    canvas = Image.new("RGB", (width + 2 * _MARGIN, height), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), lines[0], font=font, fill="black")
    for number, row in enumerate(sheet.rows):
        top = _MARGIN + 2 * _LINE_PIXELS + number * row_height
        draw.text((_MARGIN, top), lines[number + 1], font=font, fill="black")
        for place, each in enumerate(row.thumbnails):
            corner = _MARGIN + place * (CELL_PIXELS + _GAP), top + _LINE_PIXELS
            if each.image is None:
                _draw_gap(draw, corner)
            else:
                canvas.paste(each.image, corner)
    return canvas


def _ascii(text: str) -> str:
    """The text in the characters of Pillow's own font: letters without accents, others escaped."""
    letters = (each for each in normalize("NFKD", text) if not combining(each))
    return "".join(letters).encode("ascii", "backslashreplace").decode("ascii")


def _draw_gap(draw: "ImageDraw.ImageDraw", corner: tuple[int, int]) -> None:
    left, top = corner
    right, bottom = left + CELL_PIXELS - 1, top + CELL_PIXELS - 1
    draw.rectangle((left, top, right, bottom), outline="#8c959f")
    draw.line((left, top, right, bottom), fill="#8c959f")
