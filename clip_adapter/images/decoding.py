"""Decoding of untrusted bytes to an upright RGB image, or the reason why they are refused."""

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from clip_adapter.errors import UnreadableImageError
from clip_adapter.images.formats import image_format, jpeg_scans
from clip_adapter.images.reading import MAX_PIXELS


class SharedWarningFilter:
    """A context that ignores warnings of some modules and can be entered by several threads at once.

    `warnings.catch_warnings` restores the filters it found: two threads that overlap would leave them
    changed for good. Here the first thread to enter adds the filter and the last to leave removes it.

    Args:
        pattern: regular expression of the names of the modules.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._lock = Lock()
        self._inside = 0
        self._outer = warnings.catch_warnings()

    def __enter__(self) -> None:
        """Add the filter, unless another thread did."""
        with self._lock:
            if self._inside == 0:
                self._outer = warnings.catch_warnings()
                self._outer.__enter__()
                warnings.filterwarnings("ignore", module=self._pattern)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        """Restore the filters, unless another thread is still inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._outer.__exit__(None, None, None)


silence_decoder_warnings = SharedWarningFilter(r"PIL\.")
"""Entered by every thread that decodes: what Pillow only warns about is decided by our own checks."""

# Their classes, since Image.open refuses by its own limit what ours allows.
_OPENERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}
ACCEPTED_FORMATS = ("AVIF", *_OPENERS)
"""Formats that need no extra; HEIC needs pillow-heif."""

MAX_SIDES_RATIO = 1_000  # resizing the short side to 224 makes the long one 224,000 pixels
# A progressive JPEG passes over its pixels once a scan, some ten times; a hostile one, thousands.
MAX_SCANNED_PIXELS = 2_000_000_000
# A JPEG of several scans is held as coefficients, of two bytes each: up to 1 GB for so many pixels.
MAX_HELD_PIXELS = 2 * MAX_PIXELS

_ORIENTATION_TAG = 0x0112
# EXIF 2.3, section 4.6.4: what turns a picture stored with orientation 2..8 upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}
_NEW_SUBFILE_TYPE, _SUB_DIRECTORIES = 254, 330  # tags of TIFF 6.0 and its supplement 1


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in `data`, wholly decoded: mode RGB, 8 bits a channel, upright, not too large.

    Of an animation or a multi-page file the first frame counts. The EXIF orientation is
    applied; an EXIF block that cannot be parsed counts as none. What is transparent is laid on
    white. Of 16 bits a channel the high byte is kept. Colour profiles are not applied. An image of
    more than `MAX_PIXELS` pixels is reduced to a half, a quarter or less a side, whatever
    `max_pixels` is, so that a file has one picture. Every rule, with its reason: docs/decoding.md.

    Args:
        data: whole file: JPEG, PNG, WEBP, BMP, GIF, TIFF, AVIF, or HEIC with the extra `heic`,
            recognised by its content.
        max_pixels: number of pixels above which an image is refused unless it is a JPEG, which is
            decoded at reduced size.

    Raises:
        UnreadableImageError: the data is empty, truncated, broken, of another format, has too many
            pixels, is more than `MAX_SIDES_RATIO` times as long as it is wide, takes more than
            `MAX_SCANNED_PIXELS` to decode, is the thumbnail of a raw file, or holds signed or
            32-bit samples, whose range is unknown.
    """
    return _decode(data, max_pixels)[0]


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of Pillow as `decode_image` gives that of a file: upright, RGB, not too large.

    Raises:
        UnreadableImageError: its samples are signed or have 32 bits, or its file is broken.
    """
    with silence_decoder_warnings:
        try:
            picture, turn = _rgb(image), _turn(image)
        except (UnreadableImageError, MemoryError):
            raise
        except Exception as error:  # a file that is decoded only now raises anything
            raise UnreadableImageError(f"it does not decode: {error}") from error
    picture = picture.reduce(scale) if (scale := _reduction(picture.size)) > 1 else picture
    return picture if turn is None else picture.transpose(turn)


def image_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of the upright image in `data` as stored, before it is reduced.

    The image is decoded: some files tell only at their end how they are turned.

    Args:
        data: whole file, as `decode_image` takes it.
        max_pixels: limit, as of `decode_image`.

    Raises:
        UnreadableImageError: `decode_image` refuses the file.
    """
    return _decode(data, max_pixels)[1]


def check_header(data: bytes, *, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse what `decode_image` refuses before it decodes any pixel, as too many of them.

    Args:
        data: whole file, as `decode_image` takes it.
        max_pixels: limit, as of `decode_image`.

    Raises:
        UnreadableImageError: `decode_image` refuses the file for its format or its header.
    """
    with _checked(data, max_pixels):
        pass


def _decode(data: bytes, max_pixels: int) -> tuple[Image.Image, tuple[int, int]]:
    """The upright picture, and the size that it has before it is reduced."""
    with _checked(data, max_pixels) as image:
        return _load(image, data)


@contextmanager
def _checked(data: bytes, max_pixels: int) -> Iterator[ImageFile]:
    """The image, of which only the header was read; whatever its decoder raises, it is unreadable."""
    if not data:
        raise UnreadableImageError("the file is empty")
    with silence_decoder_warnings:
        try:
            with _open(data) as image:
                _check_header(image, data, max_pixels)
                yield image
        except (UnreadableImageError, MemoryError):
            raise
        except Exception as error:  # fed hostile bytes, a decoder raises anything
            reason = str(error) or type(error).__name__
            raise UnreadableImageError(f"it does not decode: {reason}") from error


def _open(data: bytes) -> ImageFile:
    claimed = image_format(data[:64])
    if claimed is None:
        raise UnreadableImageError(_unidentified(data))
    try:
        return _opener(claimed)(BytesIO(data))
    except (SyntaxError, IndexError, TypeError, struct.error):  # as Image.open expects them
        raise UnreadableImageError(f"it begins as {claimed}, but its header is broken") from None


def _opener(claimed: str) -> Callable[[BytesIO], ImageFile]:
    if claimed == "HEIC":
        return _heic_opener()
    module = claimed.lower()
    if module in {"avif", "webp"} and not (  # which Pillow may be built without
        module in features.modules and features.check_module(module)
    ):
        raise UnreadableImageError(
            f"it is {claimed}, which the Pillow installed here cannot decode: "
            "pip install --upgrade pillow"
        )
    if claimed == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile  # noqa: PLC0415  # Pillow 11.3 has it

        return AvifImageFile
    return _OPENERS[claimed]


def _heic_opener() -> Callable[[BytesIO], ImageFile]:
    try:
        import pillow_heif  # noqa: PLC0415  # an extra, and only for those who have such files
    except ImportError:
        raise UnreadableImageError("it is HEIC: pip install clip-adapter[heic]") from None
    opener: Callable[[BytesIO], ImageFile] = pillow_heif.HeifImageFile
    return opener


def _load(image: ImageFile, data: bytes) -> tuple[Image.Image, tuple[int, int]]:
    size = image.size
    is_reduced = _reduce_while_decoding(image, data)
    if any("16" in str(tile.args) for tile in image.tile):
        # Its 16-bit transparent colour would be compared with pixels cut down to 8 bits.
        image.info.pop("transparency", None)
    image.load()
    picture = _rgb(image)
    if not is_reduced:
        size = picture.size  # where a header tells another size, the pixels are right
        picture = picture.reduce(scale) if (scale := _reduction(size)) > 1 else picture
    turn = _turn(image)
    if turn is None:
        return picture, size
    return picture.transpose(turn), size[::-1] if turn in _SIDEWAYS else size


def _reduce_while_decoding(image: ImageFile, data: bytes) -> bool:
    scale = _reduction(image.size)
    if scale == 1 or not isinstance(image, JpegImageFile) or not jpeg_scans(data):
        return False
    drafted = image.draft(None, (image.width // scale, image.height // scale))
    return drafted is not None


def _reduction(size: tuple[int, int]) -> int:
    """The power of two that divides both sides so that at most `MAX_PIXELS` pixels are left."""
    scale = 1
    while -(-size[0] // scale) * -(-size[1] // scale) > MAX_PIXELS:
        scale *= 2
    return scale


def _check_header(image: ImageFile, data: bytes, max_pixels: int) -> None:
    width, height = image.size
    if isinstance(image, JpegImageFile):
        _check_scans(image, data)
    limit = _pixel_limit(image, data, max_pixels)
    if width * height > limit:
        raise UnreadableImageError(
            f"{width} x {height} pixels are more than the limit of {limit:,}; "
            "allow more with --max-pixels"
        )
    if max(width, height) > MAX_SIDES_RATIO * min(width, height):
        raise UnreadableImageError(
            f"{width} x {height} pixels: one side is more than {MAX_SIDES_RATIO:,} times the other"
        )
    if isinstance(image, TiffImageFile) and _is_raw(image):
        raise UnreadableImageError(
            "its first page is a thumbnail, as in the raw file of a camera; export it as JPEG"
        )


def _is_raw(image: TiffImageFile) -> bool:
    """Whether the first page is a smaller version of an image in a directory below it."""
    return bool(image.tag_v2.get(_NEW_SUBFILE_TYPE, 0) & 1) and _SUB_DIRECTORIES in image.tag_v2


def _check_scans(image: JpegImageFile, data: bytes) -> None:
    width, height = image.size
    n_scans = data.count(b"\xff\xda")  # the marker before a scan; never within its data
    if n_scans * width * height > MAX_SCANNED_PIXELS:
        raise UnreadableImageError(
            f"{n_scans:,} scans of {width} x {height} pixels are more work than the limit of "
            f"{MAX_SCANNED_PIXELS:,} pixels"
        )


def _pixel_limit(image: ImageFile, data: bytes, max_pixels: int) -> int:
    """The number of pixels that this file may have: more where its codec reduces them."""
    width, height = image.size
    if not isinstance(image, JpegImageFile) or width * height <= max_pixels:
        return max_pixels
    match jpeg_scans(data):
        case "one":
            return MAX_SCANNED_PIXELS  # row by row, in little memory
        case "several":
            return max(max_pixels, MAX_HELD_PIXELS)
        case _:
            return max_pixels


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"its samples are signed or have 32 bits (mode {image.mode}), whose range nothing "
            "tells; convert it to 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):
        return Image.fromarray(_high_byte(image)).convert("RGB")
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
        return on_white.convert("RGB")
    return image.convert("RGB")


def _high_byte(image: Image.Image) -> NDArray[np.uint8]:
    """The top 8 of 16 bits of grey, as Pillow keeps them of colour; `[h, w]`."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    n_bits = tags.get(BITSPERSAMPLE, (16,))[0]  # 12 in some scans: Pillow leaves them unstretched
    high_byte: NDArray[np.uint8] = (np.asarray(image) >> (n_bits - 8)).astype(np.uint8)
    white_is_zero = tags.get(PHOTOMETRIC_INTERPRETATION) == 0  # which Pillow heeds up to 8 bits
    return np.invert(high_byte) if white_is_zero else high_byte


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a broken EXIF block fails in many ways and spoils no pixel
        return None


def _unidentified(data: bytes) -> str:
    start = data[:16].decode("ascii", "backslashreplace")
    known = ", ".join(ACCEPTED_FORMATS)
    return f"its header is broken or of another format than {known}: it begins with {start!r}"
