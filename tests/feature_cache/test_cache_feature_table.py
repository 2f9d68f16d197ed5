"""Feature matrices to Arrow columns and back."""

import numpy as np
import pyarrow as pa
import pytest

from feature_cache import WrongSchemaError
from feature_cache.feature_table import Features, from_column, to_column


def vectors(*firsts: float) -> Features:
    return np.array([[first, first / 2] for first in firsts], np.float32)


def test_a_slice_of_a_column_reads_as_its_own_rows() -> None:
    column = pa.chunked_array([to_column(vectors(1, 2, 3))]).slice(1)
    np.testing.assert_array_equal(from_column(column), vectors(2, 3))


def test_a_column_of_several_chunks_reads_as_one_matrix() -> None:
    column = pa.chunked_array([to_column(vectors(1, 2)), to_column(vectors(3))])
    np.testing.assert_array_equal(from_column(column), vectors(1, 2, 3))


def test_a_missing_feature_in_a_column_is_refused() -> None:
    with_null = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    with pytest.raises(WrongSchemaError, match="1 of 2 stored features are null"):
        from_column(pa.chunked_array([with_null]))
