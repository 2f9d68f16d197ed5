"""Real files, and the pixels or the reason they have always given: docs/decoding.md as bytes.

When a change of the rules makes a test here fail, stored features and sizes are of the old rules:
ADR 11 says what else must change.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_adapter.images import UnreadableImageError, decode_image

GOLDEN = Path(__file__).parent / "golden"
SIZE = (24, 16)
SCENE = "d4bfd6b1ce4bf4ebb437109131d76afb0e94fded03f192186161a01533782ee7"
HIGH_BYTES = "184df43db9a8c30f5a5bb433eb2c8d3177ba297fe14cf5860feffa1b6f00d098"
DIGESTS = {
    **dict.fromkeys(
        [
            "plain.png",
            "plain.bmp",
            "plain.tiff",
            "lossless.webp",
            "cmyk.tiff",
            "animated.png",
            "animated.webp",
            "pages.tiff",
            "turned-6.tiff",
            *(f"turned-{orientation}.png" for orientation in range(2, 9)),
        ],
        SCENE,
    ),
    **dict.fromkeys(
        [
            "grey16.png",
            "grey16-key.png",
            "colour16.png",
            "colour16-key.png",
            "grey16.tiff",
            "grey16-inverted.tiff",
            "grey12.tiff",
        ],
        HIGH_BYTES,
    ),
    "animated.gif": "f0b01132284afadf143aac94a48a706bfb893e8c759946489e02d34f0a583db9",
    "grey.png": "631cd28d24d890d9018fcd1234036650889957f9d9a21d59997c4ed7b4e3556a",
    "one-bit.png": "14a47e5e5a26541dda973df666cfa5a4a356049697b0ab507ba0c72d5bd9dac1",
    "one-bit.tiff": "14a47e5e5a26541dda973df666cfa5a4a356049697b0ab507ba0c72d5bd9dac1",
    "palette.png": "f6194fb70940c90a833bc28320af816ab9c2bae08b0d4ec8ec62943288442f77",
    "palette-transparent.png": "835c613fd0e5ca0660bc5d5a9de32e691134a51247f10d26033c869687a02456",
    "palette-transparent.gif": "da163158a297bfc849c9b9f2508150dbb4c86105c29c2a6050159d7b8727964d",
    "grey-alpha.png": "0c8949bc9e2de4352b89ae0a2509410e3e7d467dcad19f95e4fa037b8e3b5d2d",
    "alpha.png": "1c2147320a024808cf7ef8ad1d7bb866cb9863d404bbbe21102886d1204928ea",
    "alpha.webp": "1c2147320a024808cf7ef8ad1d7bb866cb9863d404bbbe21102886d1204928ea",
}
"""SHA-256 of the RGB pixels, row by row. All lossless: the formats define every bit of them."""
FORMATS = "its header is broken or of another format than AVIF, BMP, GIF, JPEG, PNG, TIFF, WEBP"
UNKNOWN_RANGE = "whose range nothing tells; convert it to 8 or 16 bits"
REASONS = {
    "empty.png": "the file is empty",
    "page.jpg": f"{FORMATS}: it begins with '<!DOCTYPE html><'",
    "pixmap.png": rf"{FORMATS}: it begins with 'P5\n24 16\n255\n\x00\x00\x00'",
    "truncated.jpg": "it does not decode: ",  # the rest is Pillow's wording
    "truncated.png": "it does not decode: ",
    "float32.tiff": f"its samples are signed or have 32 bits (mode F), {UNKNOWN_RANGE}",
    "integer32.tiff": f"its samples are signed or have 32 bits (mode I), {UNKNOWN_RANGE}",
    "signed16.tiff": f"its samples are signed or have 32 bits (mode I), {UNKNOWN_RANGE}",
    "bomb.png": "60000 x 60000 pixels are more than the limit of 64,000,000; "
    "allow more with --max-pixels",
    "needle.png": "1001 x 1 pixels: one side is more than 1,000 times the other",
    "many-scans.jpg": "61 scans of 7000 x 7000 pixels are more work than the limit of "
    "2,000,000,000 pixels",
}
LOSSY = sorted(path.stem for path in (GOLDEN / "decoded").iterdir())
# The inverse DCT of JPEG may differ by 1 between decoders that conform (ITU-T T.83), and turning
# YCbCr into RGB multiplies that by up to 1.8 twice. Pillow brings libjpeg-turbo and libwebp.
LOSSY_TOLERANCE = 3


@pytest.mark.parametrize("name", DIGESTS)
def test_a_lossless_file_gives_the_pixels_it_always_gave(name: str) -> None:
    image = decode_image((GOLDEN / name).read_bytes())

    assert (image.mode, image.size) == ("RGB", SIZE)
    assert hashlib.sha256(image.tobytes()).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_file_gives_the_pixels_it_always_gave(name: str) -> None:
    if name.endswith(".heic"):
        pytest.importorskip("pillow_heif")
    expected = Image.open(GOLDEN / "decoded" / f"{name}.png")

    image = decode_image((GOLDEN / name).read_bytes())

    assert (image.mode, image.size) == ("RGB", SIZE)
    difference = np.asarray(image, dtype=int) - np.asarray(expected, dtype=int)
    assert np.abs(difference).max() <= LOSSY_TOLERANCE


@pytest.mark.parametrize("name", ["cmyk.jpg", "ycck.jpg"])
def test_adobes_inverted_inks_show_the_scene_and_not_its_negative(name: str) -> None:
    scene = np.asarray(Image.open(GOLDEN / "plain.png"), dtype=int)

    decoded = np.asarray(decode_image((GOLDEN / name).read_bytes()), dtype=int)

    # 25 grey levels: what JPEG at quality 90 does to a sharp edge; a negative is off by 255.
    assert np.abs(decoded - scene).max() <= 25


@pytest.mark.parametrize("name", REASONS)
def test_a_refused_file_gives_the_reason_it_always_gave(name: str) -> None:
    with pytest.raises(UnreadableImageError) as refused:
        decode_image((GOLDEN / name).read_bytes())

    if REASONS[name].endswith(": "):
        assert refused.value.reason.startswith(REASONS[name])
    else:
        assert refused.value.reason == REASONS[name]


def test_every_golden_file_is_tested() -> None:
    files = {path.name for path in GOLDEN.iterdir() if path.is_file()}

    assert files == {*DIGESTS, *LOSSY, *REASONS}
