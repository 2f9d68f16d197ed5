"""Figures as one address that holds the whole picture, for pages with no folder beside them."""

import base64

import vl_convert

__all__ = ["png_address", "svg_address"]

PIXELS_A_POINT = 1.5
"""Sharp on most screens, at some 40 kB a figure."""


def png_address(svg: str) -> str:
    """A `data:` address of a figure as pixels, in which no name can be anything but a picture."""
    return _address("image/png", vl_convert.svg_to_png(svg, scale=PIXELS_A_POINT))


def svg_address(svg: str) -> str:
    """A `data:` address of a figure as it is; a browser runs no script in a picture."""
    return _address("image/svg+xml", svg.encode())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
