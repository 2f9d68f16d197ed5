"""The format that a file claims to have, and what more its bytes tell before they are decoded."""

from collections.abc import Iterator
from typing import Final, Literal

IMAGE_SUFFIXES: Final = (
    *(".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg"),
    *(".jpg", ".jxl", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
"""A file of such a name is meant to be an image: one that does not decode is unreadable, not excluded."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II\0*": "TIFF",  # misspelt, but read by Pillow
    b"MM*\0": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF, of more than 4 GB
    b"MM\0+": "TIFF",
}
# Sizes of the header that follows "BM" and twelve bytes: two letters alone begin many a text.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"msf1"}  # either of them, which the compatible brands tell


def has_image_suffix(path: str) -> bool:
    """Whether the name of a file says that it is an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def image_format(head: bytes) -> str | None:
    """The image format that a file claims to have.

    The rest of the file may be broken: that is found when it is decoded.

    >>> image_format(b"GIF89a..."), image_format(b"<html>")
    ('GIF', None)

    Args:
        head: first bytes of the file; 64 suffice.

    Returns:
        BMP, GIF, JPEG, PNG, TIFF, WEBP, AVIF or HEIC; None for anything else.
    """
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    return _heif_format(head) if head[4:8] == b"ftyp" else None


def _heif_format(head: bytes) -> str | None:
    """AVIF or HEIC, by the brands of ISO/IEC 23008-12 that the first box lists."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[start : start + 4] for start in range(16, end - 3, 4)} | {head[8:12]}
    if brands & _AVIF:
        return "AVIF"
    return "HEIC" if brands & (_HEIC | _HEIF) else None


_SCAN = 0xDA
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2  # the frames that are decoded by cosines
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_scans(data: bytes) -> Literal["one", "several"] | None:
    """Whether a JPEG is decoded row by row from one scan, or held whole until its last scan.

    Follows libjpeg, which reduces both kinds while it decodes them.

    Args:
        data: whole file.

    Returns:
        None for what is not certain to be either: a lossless JPEG, or a header with gaps.
    """
    frame, n_components = 0, 0
    for marker, body in _jpeg_segments(data):
        if marker in _FRAMES and len(body) > 5:
            frame, n_components = marker, body[5]
        elif marker == _SCAN and frame in {_BASELINE, _EXTENDED, _PROGRESSIVE}:
            whole = frame != _PROGRESSIVE and body[:1] == bytes([n_components])
            return "one" if whole else "several"
    return None


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of every segment up to the first scan; fewer where the chain breaks."""
    place, marker = 2, 0
    while marker != _SCAN and data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        if marker < 0xC0 or 0xD0 <= marker < _SCAN or length < 2:  # these have no length
            return
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + length
