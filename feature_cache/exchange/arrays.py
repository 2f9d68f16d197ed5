"""The `.npy` format, read by hand: what a header may say is decided here, not by numpy.

numpy's own reader turns any type description into a type, objects and records included, and
allocates what the header asks for. Here a header is a literal with three known keys, its type one
of a few plain ones, and its size must be the size of the data that follows. The format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import ast
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from feature_cache.exchange.errors import (
    ForeignFileError,
    OversizedFileError,
    PickledArrayError,
)

MAX_BYTES = 8 * 2**30
"""How much a reader takes into memory unless told otherwise: 4,000,000 rows of 512 float32."""

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000
_MAX_DIMENSIONS = 3
_PLAIN_TYPE = re.compile(r"[<>=|]?[biufUS][0-9]{1,9}")
_CHUNK = 2**24


@dataclass(frozen=True)
class Header:
    """What an array says of itself.

    Attributes:
        dtype: Its element type: a boolean, integer, float or text of fixed length.
        shape: Its dimensions, three at most.
        order: "F" when the first index runs fastest.
        n_bytes_before: Where its elements begin.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    n_bytes_before: int

    @property
    def n_bytes(self) -> int:
        """How many bytes its elements take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: BinaryIO, path: Path, name: str) -> Header:
    """Read the header of the array called `name` and leave the stream at its first element.

    Raises:
        PickledArrayError: An array of Python objects.
        ForeignFileError: No header that is known here; names `path` and the array.
    """
    start = stream.read(8)
    if len(start) != 8 or not start.startswith(_MAGIC) or start[6] not in (1, 2):
        raise ForeignFileError(
            path, f"{name} is no .npy array of version 1 or 2 but begins {start!r}: write it anew"
        )
    length_bytes = stream.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(length_bytes, "little")
    text = stream.read(length) if length <= _MAX_HEADER else b""
    if len(text) != length:
        raise ForeignFileError(path, f"the header of {name} is cut short or endless: write it anew")
    fields = _literal(text, path, name)
    return Header(
        dtype=_dtype(fields["descr"], path, name),
        shape=_shape(fields["shape"], path, name),
        order="F" if fields["fortran_order"] is True else "C",
        n_bytes_before=8 + len(length_bytes) + length,
    )


def read_array(stream: BinaryIO, header: Header) -> npt.NDArray[Any]:
    """The elements after a header; fewer than declared is an EOFError.

    The caller has compared `header.n_bytes` with what there is and with what it allows.
    """
    elements = np.empty(header.n_bytes, np.uint8)
    rest = elements.data
    while rest:
        piece = stream.read(min(len(rest), _CHUNK))
        if not piece:
            raise EOFError(f"{len(rest)} bytes are missing")
        rest[: len(piece)] = piece
        rest = rest[len(piece) :]
    return elements.view(header.dtype).reshape(header.shape, order=header.order)


def map_npy(path: Path, *, max_bytes: int = MAX_BYTES) -> npt.NDArray[Any]:
    """A `.npy` file as a read-only array that the system reads page by page when it is used.

    Args:
        path: A regular file; it must not change while the array lives.
        max_bytes: The largest array that is taken.

    Raises:
        PickledArrayError, OversizedFileError: Before a byte of the array is read.
        ForeignFileError: No such file, no array, or not as long as its header says.
    """
    if not path.is_file():
        raise ForeignFileError(path, "it is not there, or no regular file: check the path")
    with path.open("rb") as stream:
        header = read_header(stream, path, "the file")
    check_size(header, path.stat().st_size, path=path, name="the file", max_bytes=max_bytes)
    if header.n_bytes == 0:  # nothing can be mapped
        return np.empty(header.shape, header.dtype)
    return np.memmap(
        path,
        dtype=header.dtype,
        mode="r",
        offset=header.n_bytes_before,
        shape=header.shape,
        order=header.order,
    )


def check_size(header: Header, stored: int, *, path: Path, name: str, max_bytes: int) -> None:
    """Refuse an array that is not as long as it says, or longer than is allowed."""
    if header.n_bytes > max_bytes:
        raise OversizedFileError(
            path,
            f"{name} declares {header.n_bytes:,} bytes, at most {max_bytes:,} are taken: split it, "
            "or allow more with max_bytes",
        )
    if header.n_bytes_before + header.n_bytes != stored:
        raise ForeignFileError(
            path,
            f"{name} has {stored - header.n_bytes_before:,} bytes of data, its header declares "
            f"{header.n_bytes:,}: it is cut short or damaged, copy it again",
        )


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """An array as the content of a `.npy` file; never pickled, so objects are a ValueError."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def _literal(text: bytes, path: Path, name: str) -> dict[str, Any]:
    try:
        fields = ast.literal_eval(text.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise ForeignFileError(
            path, f"the header of {name} is no literal ({type(error).__name__}): write it anew"
        ) from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise ForeignFileError(
            path,
            f"the header of {name} has not the keys descr, fortran_order, shape: write it anew",
        )
    return fields


def _dtype(description: object, path: Path, name: str) -> np.dtype[Any]:
    if isinstance(description, str) and description.lstrip("<>=|").startswith("O"):
        raise PickledArrayError(
            path,
            f"{name} holds pickled Python objects, which run code when they are read: write it as "
            "plain numbers or text, e.g. names as np.array(names, dtype=str)",
        )
    if isinstance(description, str) and _PLAIN_TYPE.fullmatch(description):
        try:
            dtype = np.dtype(description)
        except TypeError:
            dtype = np.dtype("V")
        if dtype.itemsize and dtype.kind in "biufUS":
            return dtype
    raise ForeignFileError(
        path,
        f"{name} has element type {description!r:.80}, expected plain integers, floats or text: "
        "write records and raw bytes as separate arrays",
    )


def _shape(shape: object, path: Path, name: str) -> tuple[int, ...]:
    sound = isinstance(shape, tuple) and len(shape) <= _MAX_DIMENSIONS
    if not sound or not all(type(each) is int and each >= 0 for each in shape):  # type: ignore[attr-defined]
        raise ForeignFileError(
            path, f"{name} has shape {shape!r:.80}, expected up to three dimensions: write it anew"
        )
    return tuple(shape)  # type: ignore[arg-type]
