"""The nearest rows are those of a plain product, however the rows are divided into blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.errors import DataError
from clip_adapter.pipeline import nearest
from clip_adapter.pipeline.nearest import NearestRows, find_nearest, unit_blocks

Matrix = Any


def in_blocks(features: Matrix, *, rows: int) -> Iterator[tuple[Matrix, Matrix]]:
    for first in range(0, len(features), rows):
        part = features[first : first + rows]
        yield np.arange(first, first + len(part)), part


def search(
    query: Matrix, features: Matrix, *, top: int, rows: int = 3, at_least: int = 1
) -> NearestRows:
    blocks = unit_blocks(in_blocks(features, rows=rows), at_least=at_least)
    return find_nearest(query, blocks, top=top)


def reference(query: Matrix, features: Matrix, *, top: int) -> tuple[list[int], Matrix]:
    """Places and cosines of the best rows, all in float64; zero and non-finite rows are left out."""
    wide, query = features.astype(np.float64), query.astype(np.float64)
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(wide, axis=1)
        cosines = wide @ query / lengths / np.linalg.norm(query)
    usable = [row for row in range(len(wide)) if 0 < lengths[row] < np.inf]
    best = sorted(usable, key=lambda row: (-round(cosines[row], 12), row))[:top]
    return best, cosines[best]


@pytest.mark.parametrize("precision", [np.float32, np.float16])
@pytest.mark.parametrize("at_least", [1, 1_000, 10**9])
def test_the_best_rows_are_those_of_a_plain_product(precision: type, at_least: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(1_000, 24)).astype(precision)
    query = random.normal(size=24).astype(np.float32)
    found = search(query, features, top=50, rows=7, at_least=at_least)
    places, cosines = reference(query, features, top=50)
    assert found.places.tolist() == places
    np.testing.assert_allclose(found.cosines, cosines, atol=1e-6)  # unit vectors in float32
    assert found.n_compared == 1_000


@given(
    rows=st.lists(st.tuples(*[st.integers(-1, 1)] * 3), min_size=1, max_size=40),
    top=st.integers(1, 50),
    size=st.integers(1, 8),
    precision=st.sampled_from([np.float16, np.float32]),
)
def test_equal_rows_are_in_the_order_of_their_places(
    rows: list[tuple[int, ...]], top: int, size: int, precision: type
) -> None:
    """Small whole numbers make many rows equal, and some zero."""
    features, query = np.array(rows, precision), np.array([3, 2, 1], np.float32)
    found = search(query, features, top=top, rows=size)
    _, cosines = reference(query, features, top=top)
    np.testing.assert_allclose(found.cosines, cosines, atol=1e-7)  # unit vectors in float32
    assert found.n_compared == np.any(features, axis=1).sum()
    for row in set(rows):
        places = [place for place in found.places.tolist() if rows[place] == row]
        assert places == [place for place, each in enumerate(rows) if each == row][: len(places)]


def test_equal_features_have_equal_cosines_in_blocks_of_any_size() -> None:
    """A product in float32 alone rounds a row by its place in the block."""
    row = np.random.default_rng(0).normal(size=512).astype(np.float32)
    others = np.random.default_rng(1).normal(size=(1_000, 512)).astype(np.float32)
    features = np.concatenate([others[:501], [row], others[501:], [row], [row]])
    found = search(row + others[0], features, top=4, rows=97)
    assert set(found.places.tolist()) == {0, 501, 1_001, 1_002}
    same = found.cosines[np.isin(found.places, [501, 1_001, 1_002])]
    assert len(set(same.tolist())) == 1


def test_where_all_rows_are_equal_the_first_are_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "_ROWS_AT_ONCE", 7)
    features = np.tile(np.random.default_rng(0).normal(size=33).astype(np.float32), (500, 1))
    found = search(features[0], features, top=40, rows=100)
    assert found.places.tolist() == list(range(40))


def test_rows_that_are_zero_or_not_finite_are_left_out() -> None:
    features = np.ones((6, 4), np.float32)
    features[0], features[2, 1], features[4, 3] = 0, np.nan, np.inf
    found = search(np.ones(4), features, top=6)
    assert (found.places.tolist(), found.n_compared) == ([1, 3, 5], 3)


def test_features_whose_squares_overflow_or_vanish_are_compared() -> None:
    features = np.array([[3e38, 0], [0, 2e-11], [1, 1]], np.float32)
    found = search(np.array([1e30, 0]), features, top=3)
    assert found.places.tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.cosines, [1, 0.5**0.5, 0], atol=1e-7)


def test_no_cosine_is_above_one() -> None:
    features = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    assert max(search(row, features, top=1).cosines[0] for row in features) <= 1


def test_nothing_is_nearest_among_no_rows() -> None:
    assert search(np.ones(4), np.empty((0, 4), np.float32), top=3).places.tolist() == []


@pytest.mark.parametrize("query", [np.zeros(4), np.array([1, np.nan, 1, 1])])
def test_a_query_without_a_direction_is_refused(query: Matrix) -> None:
    with pytest.raises(DataError, match="zero or not finite"):
        search(query, np.ones((3, 4), np.float32), top=1)


def test_a_query_of_another_width_is_refused_with_both_widths() -> None:
    with pytest.raises(DataError, match=r"width 5, and those of the images have width 4"):
        search(np.ones(5), np.ones((3, 4), np.float32), top=1)
