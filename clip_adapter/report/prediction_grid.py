"""The first images of a prediction with their classes, as HTML for a notebook."""

import base64
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from clip_adapter.escaping import escape_control_characters
from clip_adapter.images import UnreadableImageError, decode_image, read_image_file

MOST_IMAGES = 24
"""Largest number of images that are drawn."""
CELL_PIXELS = 128


def grid_html(summary: str, table: pa.Table) -> str:
    """The summary and the first images with class and confidence; every text is escaped.

    An image that cannot be read again, as one of an archive, is drawn as an empty cell.

    Args:
        summary: line above the images.
        table: predictions with the columns `path`, `predicted`, `confidence` and `error`.
    """
    cells = "\n".join(map(_cell, table.slice(0, MOST_IMAGES).to_pylist()))
    n_more = table.num_rows - MOST_IMAGES
    more = f"\n<p>and {n_more:,} more</p>" if n_more > 0 else ""
    return (
        f"<p>{_html(summary)}</p>\n"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">\n{cells}\n</div>{more}'
    )


def _cell(row: dict[str, Any]) -> str:
    name = _html(Path(row["path"]).name)
    if row["error"]:
        caption = f"{name}<br>{_html(row['error'])}"
    else:
        predicted = row["predicted"] if row["predicted"] is not None else "(not confident)"
        caption = f"<b>{_html(predicted)}</b> {row['confidence']:.0%}<br>{name}"
    return (
        f'<figure style="width:{CELL_PIXELS}px;margin:0;font-size:12px;overflow-wrap:anywhere">'
        f"{_image(row)}<figcaption>{caption}</figcaption></figure>"
    )


def _image(row: dict[str, Any]) -> str:
    try:
        picture = decode_image(read_image_file(Path(row["path"])))
    except UnreadableImageError:
        return f'<div style="height:{CELL_PIXELS}px;border:1px dashed #8c959f"></div>'
    picture.thumbnail((CELL_PIXELS, CELL_PIXELS), Image.Resampling.LANCZOS)
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return f'<img src="data:image/png;base64,{content}" alt="{_html(row["path"])}">'


def _html(text: object) -> str:
    return escape(escape_control_characters(text))
