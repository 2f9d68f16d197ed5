"""Figures as one address that holds the whole picture, for pages with no folder beside them."""

import base64
from functools import lru_cache

import vl_convert

__all__ = ["png_address"]

PIXELS_A_POINT = 1.5
"""Sharp on most screens, at some 40 kB a figure."""


@lru_cache(maxsize=8)
def png_address(svg: str) -> str:
    """A `data:` address of a figure as pixels, in which no name can be anything but a picture.

    It looks the same everywhere: letters of an SVG are drawn with the fonts of whoever looks, and
    wider ones than the renderer measured are cut off.
    """
    content = vl_convert.svg_to_png(svg, scale=PIXELS_A_POINT)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
