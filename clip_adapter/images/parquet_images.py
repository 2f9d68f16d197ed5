"""Images inside a Parquet file, read row by row with bounded memory."""

import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, BinaryIO

from clip_adapter.errors import UnreadableImageError
from clip_adapter.images.reading import MAX_FILE_BYTES

WINDOW_BYTES = 64 * 2**20
"""Images of the rows read last that are kept, so that readers side by side read a row group once."""
MAX_RATIO = 200
"""Largest size of a row group's images, as a multiple of what they take in the file."""
_FREE_BYTES = 256 * 2**20  # below which the ratio does not matter
_BUFFER = 2**20


class ParquetImages:
    """The images in the binary columns of one Parquet file; threads may share one.

    Rows of a row group are decoded one after the other, so that a row costs all before it in its
    group, unless the row before it was read last.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the metadata.

        Args:
            file: the file, which belongs to this object from now on.

        Raises:
            UnreadableImageError: it is damaged or no Parquet file.
        """
        self._file = file
        self._lock = threading.Lock()
        import pyarrow as pa  # noqa: PLC0415  # takes 0.1 s
        from pyarrow import parquet  # noqa: PLC0415  # the same

        self._errors = (pa.ArrowException, OSError, EOFError)
        try:
            self._parquet = parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        except self._errors as error:
            file.close()
            raise UnreadableImageError(_damaged(error)) from error
        groups = range(self._parquet.metadata.num_row_groups)
        sizes = (self._parquet.metadata.row_group(number).num_rows for number in groups)
        self._firsts = [0, *accumulate(sizes)]
        self._column, self._group, self._next = "", -1, 0
        self._rows: Iterator[bytes | UnreadableImageError] = iter(())
        self._window: deque[bytes | UnreadableImageError] = deque()
        self._window_bytes = 0

    def __del__(self) -> None:
        """Close the file, which the last thread that reads it does not know to be the last."""
        self._file.close()

    def read(self, column: str, row: int) -> bytes:
        """The bytes of the image in a row.

        Args:
            column: a binary column, or one of structs with the binary field `bytes`.
            row: number of the row in the file, from 0.

        Raises:
            UnreadableImageError: there is no such row or image, it is larger than `MAX_FILE_BYTES`, the
                images of its row group are more than `MAX_RATIO` times as large as in the file, or the
                file is damaged.
        """
        if not 0 <= row < self._firsts[-1]:
            raise UnreadableImageError(f"the file has no row {row:,}, only {self._firsts[-1]:,}")
        group = bisect_right(self._firsts, row) - 1
        with self._lock:
            behind = self._next - len(self._window)
            if (column, group) != (self._column, self._group) or row < behind:
                self._start(column, group)
            try:
                while self._next <= row:
                    self._keep(next(self._rows))
            except self._errors as error:
                self._group = -1
                raise UnreadableImageError(_damaged(error)) from error
            except StopIteration:
                self._group = -1
                raise UnreadableImageError("its row group has fewer rows than it says") from None
            found = self._window[row - self._next]
        if isinstance(found, UnreadableImageError):
            raise UnreadableImageError(found.reason)
        return found

    def _start(self, column: str, group: int) -> None:
        leaves = _binary_leaves(self._parquet, column)
        if not leaves:
            raise UnreadableImageError(f"the file has no column of images {column!r}")
        name, number, is_struct = leaves
        chunk = self._parquet.metadata.row_group(group).column(number)
        limit = max(_FREE_BYTES, MAX_RATIO * chunk.total_compressed_size)
        if chunk.total_uncompressed_size > limit:
            raise UnreadableImageError(
                f"its row group holds {chunk.total_uncompressed_size:,} bytes of images in "
                f"{chunk.total_compressed_size:,}, more than {MAX_RATIO} times as many"
            )
        self._column, self._group, self._next = column, group, self._firsts[group]
        self._window.clear()
        self._window_bytes = 0
        # A batch is one row: however often a large image is repeated by a dictionary, one is in memory.
        batches = self._parquet.iter_batches(1, row_groups=[group], columns=[name])
        self._rows = _cells(batches, limit=limit, is_struct=is_struct)

    def _keep(self, content: bytes | UnreadableImageError) -> None:
        self._window.append(content)
        self._next += 1
        self._window_bytes += _size(content)
        while self._window_bytes > WINDOW_BYTES and len(self._window) > 1:
            self._window_bytes -= _size(self._window.popleft())


def _size(content: bytes | UnreadableImageError) -> int:
    return len(content) if isinstance(content, bytes) else 100


def _cells(
    batches: Iterator[Any], *, limit: int, is_struct: bool
) -> Iterator[bytes | UnreadableImageError]:
    n_bytes = 0
    for batch in batches:
        column = batch.column(0)
        value = (column.field(0) if is_struct else column)[0]
        value = getattr(value, "value", value) if hasattr(value, "dictionary") else value
        is_missing = not value.is_valid or (is_struct and column.null_count)
        cell = None if is_missing else value.as_buffer()
        n_bytes += 0 if cell is None else cell.size
        if n_bytes > limit:
            # Of a dictionary, which the metadata count once.
            while True:
                yield UnreadableImageError(
                    f"its row group expands to more than {limit:,} bytes of images"
                )
        if cell is None:
            yield UnreadableImageError("the row holds no image, perhaps only the path of one")
        elif cell.size > MAX_FILE_BYTES:
            yield UnreadableImageError(
                f"{cell.size:,} bytes are more than the limit of {MAX_FILE_BYTES:,}"
            )
        else:
            yield cell.to_pybytes()


def _binary_leaves(file: Any, column: str) -> tuple[str, int, bool] | None:
    """Name and number of the leaf column that has the bytes, and whether it is in a struct."""
    schema = file.schema
    paths = {schema.column(number).path: number for number in range(len(schema))}
    for name in (column, f"{column}.bytes"):
        if name in paths and schema.column(paths[name]).physical_type == "BYTE_ARRAY":
            return name, paths[name], name != column
    return None


def _damaged(error: BaseException) -> str:
    said = " ".join(str(error).split())[:200]
    return f"the Parquet file is damaged, or no Parquet file: {said}"
