import struct
from io import BytesIO

import pytest
from PIL import Image

from clip_adapter.images import image_format


def encoded(kind: str) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (16, 16), "green").save(buffer, kind)
    return buffer.getvalue()


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return struct.pack(">I4s4sI", 16 + len(brands), b"ftyp", major, 0) + brands + bytes(40)


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_what_pillow_writes_is_recognised_by_its_first_64_bytes(kind: str) -> None:
    assert image_format(encoded(kind)[:64]) == kind


@pytest.mark.parametrize(
    "head",
    [
        ftyp(b"heic", b"mif1", b"heic"),
        ftyp(b"hevc", b"msf1"),
        ftyp(b"mif1", b"mif1", b"heix"),
        ftyp(b"mif1"),
    ],
)
def test_every_brand_of_heic_is_recognised(head: bytes) -> None:
    assert image_format(head) == "HEIC"


@pytest.mark.parametrize(
    "head",
    [ftyp(b"avif"), ftyp(b"avis", b"msf1"), ftyp(b"mif1", b"mif1", b"miaf", b"avif")],
)
def test_every_brand_of_avif_is_recognised(head: bytes) -> None:
    assert image_format(head) == "AVIF"


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"<html><body>GIF89a",
        b"BMW,320,red\nBMW,520,blue\n",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"PK\x03\x04",
        b"%PDF-1.7",
        ftyp(b"isom", b"isom", b"iso2", b"mp41"),
        b"\0\0\0\x0cjP  \r\n\x87\n",
        bytes(64),
    ],
)
def test_what_claims_no_accepted_format_has_none(head: bytes) -> None:
    assert image_format(head) is None


def test_an_end_within_the_first_bytes_is_no_error() -> None:
    for kind in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"):
        for end in range(40):
            assert image_format(encoded(kind)[:end]) in {None, kind, "HEIC"}
