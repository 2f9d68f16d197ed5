"""Writes `golden/`, file by file: `python tests/clip_adapter/images/make_golden.py`.

It was run once. What it writes depends on Pillow's encoders; what counts are the files as committed.
"""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from clip_adapter.images import decode_image

GOLDEN = Path(__file__).parent / "golden"
WIDTH, HEIGHT = 24, 16
ORIENTATION, PHOTOMETRIC = 274, 262
STORED_AS = {  # what turns an upright picture into the stored one of that orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def scene() -> Image.Image:
    """Red grows to the right, green downwards, a blue block stands off centre."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[..., 0] = np.linspace(0, 255, WIDTH).astype(np.uint8)
    pixels[..., 1] = np.linspace(0, 255, HEIGHT).astype(np.uint8)[:, None]
    pixels[3:8, 4:10, 2] = 255
    return Image.fromarray(pixels)


def grey16() -> NDArray[np.uint16]:
    return np.linspace(0, 65_535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def veiled() -> Image.Image:
    """The scene behind a veil that grows thinner to the right."""
    image = scene().convert("RGBA")
    alpha = np.linspace(0, 255, WIDTH).astype(np.uint8)[None].repeat(HEIGHT, axis=0)
    image.putalpha(Image.fromarray(alpha))
    return image


def frames() -> list[Image.Image]:
    return [scene(), scene().transpose(Image.Transpose.ROTATE_180)]


def turned(orientation: int, kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = scene().transpose(STORED_AS[orientation])
    return encoded(stored, kind, exif=exif.tobytes(), **options)


def png(samples: NDArray[np.uint16], *, colour: int, transparent: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow reads but does not write in colour."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, body)
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
            *([(b"tRNS", transparent)] if transparent else []),
            (b"IDAT", zlib.compress(rows)),
            (b"IEND", b""),
        )
    )


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def tiff(samples: bytes, *, bits: int, photometric: int = 1, sample_format: int = 1) -> bytes:
    """One strip of grey, least significant byte first (TIFF 6.0, section 4)."""
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1}
    tags |= {278: HEIGHT, 279: len(samples), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(samples)) + samples + directory


def twelve_bits() -> bytes:
    """Two samples in three bytes, most significant bits first."""
    values = (grey16() >> 4).reshape(-1, 2).astype(int)
    return b"".join((first << 12 | second).to_bytes(3, "big") for first, second in values.tolist())


def ycck() -> bytes:
    """A CMYK JPEG whose colours are stored as YCbCr, as Photoshop's are; told by Adobe's marker."""
    stored = np.dstack(
        [np.asarray(ImageOps.invert(scene()).convert("YCbCr")), np.full((HEIGHT, WIDTH), 255)]
    )
    inverted = Image.frombytes("CMYK", (WIDTH, HEIGHT), (255 - stored).astype(np.uint8).tobytes())
    data = bytearray(encoded(inverted, "JPEG", quality=90))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def claiming(data: bytes, *, width: int, height: int) -> bytes:
    """A baseline JPEG whose header names another size."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def many_scans() -> bytes:
    big = claiming(encoded(scene().convert("L"), "JPEG"), width=7_000, height=7_000)
    place = big.index(b"\xff\xda")
    return big[:place] + b"\xff\xda\0\2" * 60 + big[place:]


def bomb() -> bytes:
    data = encoded(Image.new("L", (1, 1)), "PNG")
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    return data[:8] + chunk(b"IHDR", header) + data[33:]


def palette(**options: Any) -> bytes:
    return encoded(scene().quantize(16), "PNG", **options)


def heic() -> bytes:
    import pillow_heif  # noqa: PLC0415  # an extra

    buffer = BytesIO()
    pillow_heif.from_pillow(scene()).save(buffer, quality=90, chroma=444)
    return buffer.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "plain.png": lambda: encoded(scene(), "PNG"),
    "plain.bmp": lambda: encoded(scene(), "BMP"),
    "plain.tiff": lambda: encoded(scene(), "TIFF", compression="tiff_lzw"),
    "lossless.webp": lambda: encoded(scene(), "WEBP", lossless=True),
    "grey.png": lambda: encoded(scene().convert("L"), "PNG"),
    "one-bit.png": lambda: encoded(scene().convert("1"), "PNG"),
    "one-bit.tiff": lambda: encoded(scene().convert("1"), "TIFF", compression="group4"),
    "palette.png": palette,
    "palette-transparent.png": lambda: palette(transparency=bytes(range(0, 256, 16))),
    "palette-transparent.gif": lambda: encoded(scene().quantize(16), "GIF", transparency=3),
    "grey-alpha.png": lambda: encoded(veiled().convert("LA"), "PNG"),
    "alpha.png": lambda: encoded(veiled(), "PNG"),
    "alpha.webp": lambda: encoded(veiled(), "WEBP", lossless=True, exact=True),
    "grey16.png": lambda: png(grey16(), colour=0),
    "grey16-key.png": lambda: png(grey16(), colour=0, transparent=b"\0\0"),
    "colour16.png": lambda: png(np.dstack([grey16()] * 3), colour=2),
    "colour16-key.png": lambda: png(np.dstack([grey16()] * 3), colour=2, transparent=b"\x30" * 6),
    "grey16.tiff": lambda: tiff(grey16().astype("<u2").tobytes(), bits=16),
    "grey16-inverted.tiff": lambda: tiff(
        (65_535 - grey16()).astype("<u2").tobytes(), bits=16, photometric=0
    ),
    "grey12.tiff": lambda: tiff(twelve_bits(), bits=12),
    "cmyk.tiff": lambda: encoded(scene().convert("CMYK"), "TIFF"),
    **{f"turned-{each}.png": lambda each=each: turned(each, "PNG") for each in STORED_AS},
    "turned-6.tiff": lambda: turned(6, "TIFF"),
    "animated.gif": lambda: encoded(
        frames()[0].quantize(64), "GIF", save_all=True, append_images=[frames()[1].quantize(64)]
    ),
    "animated.png": lambda: encoded(
        frames()[0], "PNG", save_all=True, append_images=frames()[1:], duration=100
    ),
    "animated.webp": lambda: encoded(
        frames()[0], "WEBP", save_all=True, append_images=frames()[1:], lossless=True
    ),
    "pages.tiff": lambda: encoded(frames()[0], "TIFF", save_all=True, append_images=frames()[1:]),
    "photo.jpg": lambda: encoded(scene(), "JPEG", quality=90, subsampling="4:4:4"),
    "photo-420.jpg": lambda: encoded(scene(), "JPEG", quality=90, subsampling="4:2:0"),
    "progressive.jpg": lambda: encoded(
        scene(), "JPEG", quality=90, subsampling="4:4:4", progressive=True
    ),
    "turned-6.jpg": lambda: turned(6, "JPEG", quality=90, subsampling="4:4:4"),
    "cmyk.jpg": lambda: encoded(scene().convert("CMYK"), "JPEG", quality=90),
    "ycck.jpg": ycck,
    "photo.webp": lambda: encoded(scene(), "WEBP", quality=90),
    "photo.avif": lambda: encoded(scene(), "AVIF", quality=90, subsampling="4:4:4"),
    "turned-6.avif": lambda: turned(6, "AVIF", quality=90, subsampling="4:4:4"),
    "photo.heic": heic,
    "empty.png": bytes,
    "page.jpg": lambda: b"<!DOCTYPE html><title>404</title>\n",
    "truncated.jpg": lambda: encoded(scene(), "JPEG", quality=90)[:-60],
    "truncated.png": lambda: encoded(scene(), "PNG")[:80],
    "float32.tiff": lambda: encoded(Image.new("F", (WIDTH, HEIGHT)), "TIFF"),
    "integer32.tiff": lambda: encoded(Image.new("I", (WIDTH, HEIGHT)), "TIFF"),
    "signed16.tiff": lambda: tiff(bytes(2 * WIDTH * HEIGHT), bits=16, sample_format=2),
    "bomb.png": bomb,
    "needle.png": lambda: encoded(Image.new("1", (1_001, 1)), "PNG"),
    "many-scans.jpg": many_scans,
    "pixmap.png": lambda: encoded(Image.new("L", (WIDTH, HEIGHT)), "PPM"),
}

LOSSY = (
    "photo.jpg",
    "photo-420.jpg",
    "progressive.jpg",
    "turned-6.jpg",
    "cmyk.jpg",
    "ycck.jpg",
    "photo.webp",
    "photo.avif",
    "turned-6.avif",
    "photo.heic",
)
"""Whose pixels depend on the decoder; `decoded/` holds what ours made of them."""


if __name__ == "__main__":
    (GOLDEN / "decoded").mkdir(parents=True, exist_ok=True)
    for name, make in FILES.items():
        (GOLDEN / name).write_bytes(make())
    for name in LOSSY:
        decoded = decode_image((GOLDEN / name).read_bytes())
        (GOLDEN / "decoded" / f"{name}.png").write_bytes(encoded(decoded, "PNG", optimize=True))
