"""Feature matrices between numpy, `[n, d]`, and Arrow, one fixed-size list a row."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache.errors import (
    InvalidFeaturesError,
    NonFiniteFeaturesError,
    WrongSchemaError,
)

Features = npt.NDArray[np.floating[Any]]
"""A float32 or float16 matrix `[n, d]`, one feature a row."""

_PRECISIONS = (np.dtype(np.float32), np.dtype(np.float16))


def check_features(features: Features, *, rows: int) -> None:
    """Refuse what cannot be stored as `rows` features.

    Raises:
        InvalidFeaturesError: Not `[rows, d]` with d >= 1, or neither float32 nor float16.
        NonFiniteFeaturesError: Infinity or NaN in a row.
    """
    if features.ndim != 2 or len(features) != rows or features.shape[1] == 0:
        raise InvalidFeaturesError(
            f"features have shape {list(features.shape)}, expected [{rows}, d]: one row a key"
        )
    if features.dtype not in _PRECISIONS:
        raise InvalidFeaturesError(
            f"features are {features.dtype}, expected float32 or float16: convert them first"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise NonFiniteFeaturesError(
            f"{bad.size} of {rows} features are not finite, the first is row {bad[0]}: "
            "the encoder overflowed or its weights are damaged; nothing was written"
        )


def feature_type(features: Features) -> pa.DataType:
    """The Arrow type of one row of `features`: a list of d floats, none of them null."""
    element = pa.field("element", pa.from_numpy_dtype(features.dtype), nullable=False)
    return pa.list_(element, features.shape[1])


def to_column(features: Features) -> pa.Array:
    """`features [n, d]` as an Arrow array of n lists, without copying where memory allows."""
    values = pa.array(np.ascontiguousarray(features).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=feature_type(features))


def check_feature_type(kind: pa.DataType) -> None:
    """Refuse a column type that `from_column` cannot turn into a matrix.

    Raises:
        WrongSchemaError: Not a fixed-size list of float32 or float16.
    """
    if pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float32(), pa.float16()):
        return
    raise WrongSchemaError(
        f"features are stored as {kind}, expected a fixed-size list of float or halffloat"
    )


def from_column(column: pa.ChunkedArray) -> Features:
    """An Arrow column of n lists as a matrix `[n, d]`; read-only, it may share memory.

    Raises:
        WrongSchemaError: The column does not hold float vectors of one width, one in every row.
    """
    check_feature_type(column.type)
    if column.null_count:
        raise WrongSchemaError(f"{column.null_count} of {len(column)} stored features are null")
    # combine_chunks() would copy a single chunk, too.
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    # flatten(), unlike .values, respects that an array may be a slice of a longer one.
    matrix: Features = lists.flatten().to_numpy(zero_copy_only=True)
    return matrix.reshape(len(lists), column.type.list_size)


def copy_rows(
    parts: Iterable[pa.Array],
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    *,
    to: Features,
) -> None:
    """Copy row `rows[i]` of the parts, counted through, to row `places[i]` of a matrix.

    Args:
        parts: Lists of d floats; each part is let go before the next is asked for.
        rows: `[m]`, ascending.
        places: `[m]`.
        to: `[n, d]`, of the element type of the parts.

    Raises:
        WrongSchemaError: As `from_column`.
    """
    start = 0
    for part in parts:
        matrix = from_column(pa.chunked_array([part]))
        first, last = np.searchsorted(rows, [start, start + len(part)])
        to[_span(places[first:last])] = matrix[_span(rows[first:last] - start)]
        start += len(part)


def _span(positions: npt.NDArray[np.int64]) -> slice | npt.NDArray[np.int64]:
    """Positions one after the other as a slice, which copies several times as fast."""
    if positions.size and (np.diff(positions) == 1).all():
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions
