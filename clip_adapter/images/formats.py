"""The format that a file claims to have, by its first bytes."""

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF, of more than 4 GB
    b"MM\0+": "TIFF",
}
# Sizes of the header that follows "BM" and twelve bytes: two letters alone begin many a text.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_AVIF = {b"avif", b"avis"}
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = {b"mif1", b"msf1"}  # either of them, which the compatible brands tell


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
