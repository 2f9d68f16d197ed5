"""From the bytes of a file nobody vouches for to an upright RGB picture, or a stated reason."""

import os
import stat
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from clip_adapter.images.errors import UnreadableImageError

__all__ = ["ACCEPTED_FORMATS", "MAX_FILE_BYTES", "MAX_PIXELS", "decode_image", "read_bytes"]

ACCEPTED_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 64_000_000  # above today's cameras; 192 MB once decoded
MAX_FILE_BYTES = 256 * 2**20

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
# Windows has neither of the first two, POSIX not the third.
_OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)


def decode_image(data: bytes) -> Image.Image:
    """The picture in `data`, wholly decoded: mode RGB, 8 bits a channel, upright.

    Of an animation or a multi-page file the first frame counts. The EXIF orientation is
    applied; an EXIF block that cannot be parsed counts as none. What is transparent is laid on
    white. Of 16 bits a channel the high byte is kept. Colour profiles are not applied.

    Args:
        data: The whole file: JPEG, PNG, WEBP, BMP, GIF or TIFF, told by its content.

    Raises:
        UnreadableImageError: It is empty, truncated, broken, of another format, has more than
            `MAX_PIXELS` pixels, or holds 32-bit samples, whose range nothing tells.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    with warnings.catch_warnings():
        # What Pillow merely warns about (sizes, odd EXIF) is decided here, without its voice.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            return _decode(data)
        except (UnreadableImageError, MemoryError):
            raise
        except UnidentifiedImageError:
            raise UnreadableImageError(_unidentified(data)) from None
        except Exception as error:  # fed hostile bytes, a decoder raises anything
            reason = str(error) or type(error).__name__
            raise UnreadableImageError(f"it does not decode: {reason}") from error


def read_bytes(folder: Path, path: str) -> bytes:
    """The bytes of one regular file below `folder`; `path` is relative to it and not trusted.

    Never blocks on a pipe and never follows a link that leads out of `folder`.

    Raises:
        UnreadableImageError: `path` leaves the folder, is missing, is not a regular file, cannot
            be read, or is larger than `MAX_FILE_BYTES`.
    """
    inside = _resolve_inside(folder, path)
    try:
        descriptor = os.open(inside, _OPEN_FLAGS)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - Path.open takes no descriptor
            return file.read(_checked_size(os.fstat(descriptor)))
    except OSError as error:
        raise UnreadableImageError(_explain(error)) from error


def _decode(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data), formats=ACCEPTED_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableImageError(
                f"{width} x {height} pixels are more than the limit of {MAX_PIXELS:,}"
            )
        image.load()
        turn = _turn(image)
        rgb = _rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise UnreadableImageError(
            f"its samples have 32 bits (mode {image.mode}), whose range nothing tells; "
            "convert it to 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):
        high_byte = np.asarray(image) >> 8  # as Pillow does for 16-bit colour
        return Image.fromarray(high_byte.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        on_white = Image.new("RGBA", image.size, "white")
        on_white.alpha_composite(image.convert("RGBA"))
        return on_white.convert("RGB")
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a broken EXIF block fails in many ways and spoils no pixel
        return None


def _unidentified(data: bytes) -> str:
    start = data[:16].decode("ascii", "backslashreplace")
    known = ", ".join(ACCEPTED_FORMATS)
    return f"its header is broken or of another format than {known}: it begins with {start!r}"


def _resolve_inside(folder: Path, path: str) -> Path:
    try:
        path.encode("utf-8")
        root = folder.resolve()
        inside = (root / path).resolve()
    except UnicodeEncodeError:
        raise UnreadableImageError("its name is not valid UTF-8") from None
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a zero byte
        raise UnreadableImageError(f"its path leads nowhere: {error}") from error
    if not inside.is_relative_to(root):
        raise UnreadableImageError("its path leaves the folder of the dataset")
    return inside


def _checked_size(status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImageError("it is not a regular file")
    if status.st_size > MAX_FILE_BYTES:
        raise UnreadableImageError(
            f"{status.st_size:,} bytes are more than the limit of {MAX_FILE_BYTES:,}"
        )
    return status.st_size


def _explain(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file does not exist"
    return f"the file cannot be opened: {error.strerror}"
