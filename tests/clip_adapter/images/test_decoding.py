import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clip_adapter.images import UnreadableImageError, decode_image


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(width: int = 20, height: int = 10) -> Image.Image:
    red = np.linspace(0, 255, width, dtype=np.uint8)[None, :].repeat(height, axis=0)
    green = np.linspace(0, 255, height, dtype=np.uint8)[:, None].repeat(width, axis=1)
    return Image.fromarray(np.stack([red, green, np.zeros_like(red)], axis=-1))


def outcome_of(data: bytes) -> str:
    try:
        return decode_image(data).mode
    except UnreadableImageError as error:
        return error.reason


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + body + png_chunk(b"IEND", b"")


VALID = {kind: encode(gradient(), kind) for kind in ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")}


@pytest.mark.parametrize("kind", VALID)
def test_every_accepted_format_decodes_to_rgb_of_its_size(kind: str) -> None:
    image = decode_image(VALID[kind])

    assert (image.mode, image.size) == ("RGB", (20, 10))


@pytest.mark.parametrize("kind", ["BMP", "PNG", "TIFF"])
def test_a_lossless_format_gives_back_every_pixel(kind: str) -> None:
    assert decode_image(VALID[kind]).tobytes() == gradient().tobytes()


def test_a_format_that_is_not_on_the_list_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="BMP, GIF, JPEG"):
        decode_image(encode(gradient(), "PPM"))


def test_an_empty_file_says_so() -> None:
    with pytest.raises(UnreadableImageError, match="the file is empty"):
        decode_image(b"")


def test_a_web_page_saved_as_a_picture_shows_how_it_begins() -> None:
    with pytest.raises(UnreadableImageError, match="begins with '<!DOCTYPE html>"):
        decode_image(b"<!DOCTYPE html><html>404</html>")


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_cut_in_half_is_unreadable(kind: str) -> None:
    whole = encode(Image.effect_noise((64, 64), 90).convert("RGB"), kind)

    with pytest.raises(UnreadableImageError):
        decode_image(whole[: len(whole) // 2])


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(UnreadableImageError, match="pixels"):
        decode_image(png_claiming(side, side))


def test_cmyk_becomes_rgb() -> None:
    image = decode_image(encode(gradient().convert("CMYK"), "JPEG", quality=95))

    # 12 grey levels: what JPEG's quantisation does to a gradient at quality 95.
    assert np.abs(np.asarray(image, dtype=int) - np.asarray(gradient(), dtype=int)).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_high_byte(kind: str) -> None:
    levels = np.array([[0, 255, 256, 32_768, 65_535]], dtype=np.uint16)

    image = decode_image(encode(Image.fromarray(levels), kind))

    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_samples_of_32_bits_are_refused_because_nothing_tells_their_range() -> None:
    floats = Image.fromarray(np.ones((2, 2), dtype=np.float32))

    with pytest.raises(UnreadableImageError, match="32 bits"):
        decode_image(encode(floats, "TIFF"))


def test_a_transparent_pixel_becomes_white_and_a_half_transparent_one_is_mixed() -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (200, 0, 0, alpha))

    assert np.asarray(decode_image(encode(image)))[0].tolist() == [
        [255, 255, 255],
        [227, 127, 127],
        [200, 0, 0],
    ]


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)

    decoded = decode_image(encode(image, transparency=0))

    assert np.asarray(decoded)[0].tolist() == [[255, 255, 255], [40, 50, 60]]


def test_one_bit_and_grey_become_three_equal_channels() -> None:
    for mode in ("1", "L"):
        pixel = decode_image(encode(Image.new(mode, (1, 1), 255))).getpixel((0, 0))
        assert pixel == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_once(kind: str, orientation: int) -> None:
    to_stored = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    scene = gradient(32, 16)
    stored = scene if to_stored is None else scene.transpose(to_stored)
    exif = Image.Exif()
    exif[0x0112] = orientation

    upright = decode_image(encode(stored, kind, exif=exif.tobytes()))

    assert upright.size == scene.size
    # 40 grey levels: lossy formats blur colours; a wrong turn is off by 200.
    assert np.abs(np.asarray(upright, dtype=int) - np.asarray(scene, dtype=int)).max() < 40


def test_a_broken_exif_block_does_not_spoil_the_picture() -> None:
    broken = encode(gradient(), "JPEG", exif=b"Exif\x00\x00garbage that is no TIFF header")

    assert decode_image(broken).size == (20, 10)


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert decode_image(animation).getpixel((0, 0)) == (255, 0, 0)


def test_the_picture_does_not_depend_on_the_file_any_more() -> None:
    assert type(decode_image(VALID["JPEG"])) is Image.Image


@pytest.mark.parametrize("kind", VALID)
@given(data=st.data())
def test_damaged_bytes_make_a_picture_or_the_one_error_and_no_warning(
    kind: str, data: st.DataObject
) -> None:
    damaged = bytearray(VALID[kind])
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = outcome_of(bytes(damaged))
    assert outcome == "RGB" or "object at 0x" not in outcome
