import struct
import subprocess
import sys
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from clip_adapter.images import (
    MAX_PIXELS,
    UnreadableImageError,
    decode_image,
    image_size,
    upright_rgb,
)
from clip_adapter.images.decoding import MAX_HELD_PIXELS
from clip_adapter.images.formats import jpeg_scans

HEIC = (Path(__file__).parent / "golden" / "photo.heic").read_bytes()


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


VALID = {
    kind: encode(gradient(), kind) for kind in ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
}


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


def test_heic_without_its_extra_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # so that importing it fails

    assert outcome_of(HEIC) == "it is HEIC: pip install clip-adapter[heic]"


def test_an_avif_says_so_where_pillow_cannot_decode_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(features.modules, "avif")

    assert outcome_of(VALID["AVIF"]) == (
        "it is AVIF, which the Pillow installed here cannot decode: pip install --upgrade pillow"
    )


def test_a_header_that_is_broken_after_its_first_bytes_names_the_format() -> None:
    assert outcome_of(VALID["PNG"][:8]) == "it begins as PNG, but its header is broken"


def test_the_thumbnail_of_a_raw_file_is_not_taken_for_the_photo() -> None:
    raw = encode(gradient(), "TIFF", tiffinfo={254: 1, 330: 8})

    assert "is a thumbnail, as in the raw file of a camera" in outcome_of(raw)


@pytest.mark.parametrize("tags", [{254: 1}, {254: 0, 330: 8}, {254: 2}])
def test_a_tiff_that_has_no_other_version_of_its_first_page_is_read(tags: dict[int, int]) -> None:
    assert outcome_of(encode(gradient(), "TIFF", tiffinfo=tags)) == "RGB"


def test_a_web_page_saved_as_a_picture_shows_how_it_begins() -> None:
    with pytest.raises(UnreadableImageError, match="begins with '<!DOCTYPE html>"):
        decode_image(b"<!DOCTYPE html><html>404</html>")


@pytest.mark.parametrize("kind", VALID)
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


@pytest.mark.parametrize("kind", ["AVIF", "JPEG", "PNG", "WEBP", "TIFF"])
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


def claiming(data: bytes, *, width: int, height: int) -> bytes:
    """A JPEG whose header names another size; what its data lacks becomes grey."""
    place = next(data.index(sof) for sof in (b"\xff\xc0", b"\xff\xc2") if sof in data) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


@pytest.fixture(name="photo", scope="module")
def _photo() -> bytes:
    """The JPEG of a camera of 100 megapixels: red grows to the right, green downwards."""
    return encode(gradient(100, 50).resize((11_000, 9_100)), "JPEG")


def test_a_jpeg_above_the_limit_is_decoded_at_half_its_size(photo: bytes) -> None:
    picture = decode_image(photo)

    assert picture.size == (5_500, 4_550)
    expected = np.asarray(gradient(100, 50).resize((110, 91)), dtype=int)
    found = np.asarray(picture.resize((110, 91)), dtype=int)
    assert np.abs(found - expected).max() <= 8  # JPEG at quality 75, on a gradient


def test_a_reduced_jpeg_has_one_picture_whatever_is_allowed(photo: bytes) -> None:
    assert decode_image(photo).tobytes() == decode_image(photo, max_pixels=2**31).tobytes()


def test_the_true_size_of_a_reduced_image_is_known(photo: bytes) -> None:
    assert image_size(photo) == (11_000, 9_100)


def test_the_true_size_is_that_of_the_upright_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = encode(gradient(), "JPEG", exif=exif.tobytes())

    assert image_size(small) == decode_image(small).size == (10, 20)
    large = claiming(small, width=12_000, height=8_000)
    assert (image_size(large), decode_image(large).size) == ((8_000, 12_000), (4_000, 6_000))


@pytest.mark.parametrize(
    ("mode", "size", "scale"),
    [
        ("CMYK", (8_001, 8_001), 2),
        ("RGB", (17_001, 8_003), 2),
        ("L", (16_001, 16_001), 4),
        ("L", (44_001, 44_003), 8),
    ],
)
def test_every_jpeg_of_one_scan_is_reduced_to_the_limit(
    mode: str, size: tuple[int, int], scale: int
) -> None:
    data = claiming(encode(gradient().convert(mode), "JPEG"), width=size[0], height=size[1])

    picture = decode_image(data)

    assert picture.size == (-(-size[0] // scale), -(-size[1] // scale))
    assert picture.width * picture.height <= MAX_PIXELS
    assert image_size(data) == size


def test_a_progressive_jpeg_is_reduced_until_its_coefficients_are_too_many() -> None:
    small = encode(gradient(), "JPEG", progressive=True)

    # Two scans are left of its ten: the limit of scans comes first otherwise.
    two_scans = small[: small.index(b"\xff\xda", small.index(b"\xff\xda") + 1)] + b"\xff\xd9"
    assert decode_image(claiming(two_scans, width=8_001, height=8_001)).size == (4_001, 4_001)
    too_many = claiming(two_scans, width=12_000, height=11_000)
    assert outcome_of(too_many) == (
        f"12000 x 11000 pixels are more than the limit of {MAX_HELD_PIXELS:,}; "
        "allow more with --max-pixels"
    )
    assert decode_image(too_many, max_pixels=132_000_000).size == (6_000, 5_500)


def test_a_jpeg_whose_first_scan_lacks_a_component_counts_as_one_of_several_scans() -> None:
    whole = encode(gradient(), "JPEG")
    scan = whole.index(b"\xff\xda")
    partial = whole[:scan] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + whole[scan + 14 :]

    assert (jpeg_scans(whole), jpeg_scans(partial)) == ("one", "several")
    assert "more than the limit of" in outcome_of(claiming(partial, width=20_000, height=20_000))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param((b"\xff\xc0", b"\xff\xc3"), id="lossless"),
        pytest.param((b"\xff\xc0", b"\xff\xd0\xff\xc0"), id="marker without a length"),
        pytest.param((b"\xff\xdb", b"junk\xff\xdb"), id="bytes between segments"),
    ],
)
def test_a_jpeg_that_is_not_surely_reducible_is_limited_as_other_formats(
    change: tuple[bytes, bytes],
) -> None:
    data = claiming(encode(gradient(), "JPEG"), width=9_000, height=9_000).replace(*change, 1)

    assert jpeg_scans(data) is None
    with pytest.raises(UnreadableImageError):
        decode_image(data)


def test_fill_bytes_before_a_marker_are_passed_over() -> None:
    filled = encode(gradient(), "JPEG").replace(b"\xff\xc0", b"\xff\xff\xff\xc0")

    assert jpeg_scans(filled) == "one"


@given(st.binary(max_size=200))
def test_any_bytes_have_scans_or_none(data: bytes) -> None:
    assert jpeg_scans(b"\xff\xd8\xff" + data) in {"one", "several", None}


def test_another_format_above_the_limit_names_the_option_that_allows_it() -> None:
    large = encode(Image.new("1", (8_001, 8_000)), "PNG")

    assert outcome_of(large) == (
        "8001 x 8000 pixels are more than the limit of 64,000,000; allow more with --max-pixels"
    )
    assert decode_image(large, max_pixels=64_008_000).size == (4_001, 4_000)
    assert image_size(large, max_pixels=64_008_000) == (8_001, 8_000)


def test_a_limit_below_the_usual_one_holds_for_all_but_jpeg() -> None:
    assert "more than the limit of 199;" in str(failure(VALID["PNG"], max_pixels=199))
    assert decode_image(VALID["JPEG"], max_pixels=199).size == (20, 10)


def failure(data: bytes, *, max_pixels: int) -> UnreadableImageError:
    with pytest.raises(UnreadableImageError) as refused:
        decode_image(data, max_pixels=max_pixels)
    return refused.value


_PEAK = """
import resource, sys
from pathlib import Path
from clip_adapter.images import decode_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode_image(Path(sys.argv[1]).read_bytes())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_a_large_jpeg_takes_the_memory_of_its_reduced_picture(tmp_path: Path) -> None:
    # 1.6 gigapixels: 4.8 GB of RGB if they were decoded at full size.
    data = claiming(encode(gradient(), "JPEG"), width=40_000, height=40_000)
    (tmp_path / "a.jpg").write_bytes(data)

    command = [sys.executable, "-c", _PEAK, str(tmp_path / "a.jpg")]
    peak_mib = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert peak_mib < 300  # 75 MB of RGB, once or twice, and libjpeg's rows


def test_a_picture_of_pillow_is_turned_and_converted_as_its_file_is() -> None:
    sideways = Image.new("RGBA", (30, 20), (255, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    sideways.save(file, "PNG", exif=exif)
    decoded = decode_image(file.getvalue())
    with Image.open(BytesIO(file.getvalue())) as opened:
        assert upright_rgb(opened) == decoded
    assert decoded.size == (20, 30)
    with pytest.raises(UnreadableImageError, match="32 bits"):
        upright_rgb(Image.new("F", (4, 4)))
    cut = Image.open(BytesIO(file.getvalue()[:-40]))
    with cut, pytest.raises(UnreadableImageError, match="does not decode"):
        upright_rgb(cut)
