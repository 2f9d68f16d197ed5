"""Decoding of untrusted bytes to an upright RGB image, or the reason why they are refused."""

import warnings
from io import BytesIO
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from clip_adapter.errors import UnreadableImageError
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

# clip_adapter.datasets.imagefolder lists files by IMAGE_SUFFIXES before their content is read.
ACCEPTED_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_SIDES_RATIO = 1_000  # resizing the short side to 224 makes the long one 224,000 pixels
# A progressive JPEG passes over its pixels once a scan, some ten times; a hostile one, thousands.
MAX_SCANNED_PIXELS = 2_000_000_000

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


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The image in `data`, wholly decoded: mode RGB, 8 bits a channel, upright.

    Of an animation or a multi-page file the first frame counts. The EXIF orientation is
    applied; an EXIF block that cannot be parsed counts as none. What is transparent is laid on
    white. Of 16 bits a channel the high byte is kept. Colour profiles are not applied. Every rule,
    with its reason: docs/decoding.md.

    Args:
        data: whole file: JPEG, PNG, WEBP, BMP, GIF or TIFF, recognised by its content.
        max_pixels: largest number of pixels that is decoded.

    Raises:
        UnreadableImageError: the data is empty, truncated, broken, of another format, has more than
            `max_pixels` pixels, is more than `MAX_SIDES_RATIO` times as long as it is wide, takes
            more than `MAX_SCANNED_PIXELS` to decode, or holds signed or 32-bit samples, whose
            range is unknown.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    with silence_decoder_warnings:
        try:
            return _decode(data, max_pixels)
        except (UnreadableImageError, MemoryError):
            raise
        except Image.DecompressionBombError:
            raise UnreadableImageError(
                f"its header claims more pixels than the limit of {max_pixels:,}"
            ) from None
        except UnidentifiedImageError:
            raise UnreadableImageError(_unidentified(data)) from None
        except Exception as error:  # fed hostile bytes, a decoder raises anything
            reason = str(error) or type(error).__name__
            raise UnreadableImageError(f"it does not decode: {reason}") from error


def _decode(data: bytes, max_pixels: int) -> Image.Image:
    with Image.open(BytesIO(data), formats=ACCEPTED_FORMATS) as image:
        _check_header(image, data, max_pixels)
        if any("16" in str(tile.args) for tile in image.tile):
            # Its 16-bit transparent colour would be compared with pixels cut down to 8 bits.
            image.info.pop("transparency", None)
        image.load()
        turn = _turn(image)
        rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _check_header(image: Image.Image, data: bytes, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableImageError(
            f"{width} x {height} pixels are more than the limit of {max_pixels:,}"
        )
    if max(width, height) > MAX_SIDES_RATIO * min(width, height):
        raise UnreadableImageError(
            f"{width} x {height} pixels: one side is more than {MAX_SIDES_RATIO:,} times the other"
        )
    if isinstance(image, JpegImageFile):
        n_scans = data.count(b"\xff\xda")  # the marker before a scan; never within its data
        if n_scans * width * height > MAX_SCANNED_PIXELS:
            raise UnreadableImageError(
                f"{n_scans:,} scans of {width} x {height} pixels are more work than the limit of "
                f"{MAX_SCANNED_PIXELS:,} pixels"
            )


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
