"""What is written reads back as it was, in every format."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import assert_same, foreigners
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_cache.exchange import (
    FeatureFile,
    FoundArrays,
    LabelledFeatures,
    ReadingRules,
    WritingRules,
    read_clip_retrieval,
    read_npy,
    read_npz,
    read_safetensors,
    row_ids,
    take_in,
    write_clip_retrieval,
    write_npy,
    write_npz,
    write_safetensors,
)

few = settings(max_examples=25, deadline=None)  # a disk that syncs keeps no deadline


@few
@given(foreign=foreigners())
def test_an_archive_reads_back_bit_for_bit(foreign: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_npz(Path(folder) / "any.npz", foreign)
        assert_same(read_npz(path), foreign)


@few
@given(foreign=foreigners())
def test_a_matrix_and_its_labels_read_back_bit_for_bit(foreign: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_npy(Path(folder) / "any.npy", foreign)
        found = read_npy(path, class_names=foreign.class_names)
        assert_same(found, foreign, but="text_features logit_scale")


@few
@given(foreign=foreigners(), n_views=st.integers(0, 2), model=st.text())
def test_a_safetensors_file_reads_back_bit_for_bit(
    foreign: LabelledFeatures, n_views: int, model: str
) -> None:
    views = np.stack([foreign.features * (2 + v) for v in range(n_views)]) if n_views else None
    content = FeatureFile(foreign, views, {"model": model})
    with tempfile.TemporaryDirectory() as folder:
        found = read_safetensors(write_safetensors(Path(folder) / "any.safetensors", content))
    assert_same(found.features, foreign)
    assert found.description == {"model": model}
    np.testing.assert_equal(found.views, views)


@few
@given(foreign=foreigners(every_class=True), rows_per_shard=st.integers(1, 9))
def test_a_folder_of_shards_reads_back_bit_for_bit(
    foreign: LabelledFeatures, rows_per_shard: int
) -> None:
    rules = WritingRules(normalise=False, precision="as stored", rows_per_shard=rows_per_shard)
    texts = foreign.text_features is not None
    with tempfile.TemporaryDirectory() as folder:
        place = write_clip_retrieval(Path(folder) / "any", foreign, rules=rules)
        found = read_clip_retrieval(place, rules=ReadingRules(text_by_class=texts))
    # Without paths the digest stands in for one, as clip-retrieval always has an image_path.
    assert_same(found, foreign, but="logit_scale" if foreign.paths else "logit_scale paths")


@few
@given(foreign=foreigners())
def test_writing_again_writes_the_same_bytes(foreign: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = (write_npz(Path(folder) / name, foreign) for name in ("1.npz", "2.npz"))
        assert one.read_bytes() == other.read_bytes()
        file = FeatureFile(foreign)
        one, other = (write_safetensors(Path(folder) / name, file) for name in ("1.st", "2.st"))
        assert one.read_bytes() == other.read_bytes()


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran order": np.asfortranarray,
    "big endian": lambda rows: rows.astype(rows.dtype.newbyteorder(">")),
    "strided": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(foreign=foreigners())
def test_an_id_is_of_the_values_and_not_of_how_they_lie(
    layout: str, foreign: LabelledFeatures
) -> None:
    assert row_ids(LAYOUTS[layout](foreign.features)) == row_ids(foreign.features)


@given(foreign=foreigners(), data=st.data())
def test_rows_in_another_order_keep_their_ids(foreign: LabelledFeatures, data: Any) -> None:
    order = data.draw(st.permutations(range(len(foreign))))
    ids = row_ids(foreign.features)
    assert row_ids(foreign.features[list(order)]) == tuple(ids[row] for row in order)


@given(row=st.integers(0, 5), column=st.integers(0, 3), bit=st.integers(0, 31))
def test_one_other_bit_is_another_id(row: int, column: int, bit: int) -> None:
    features = np.ones((6, 4), np.float32) * np.arange(1, 7, dtype=np.float32)[:, None]
    changed = features.copy()
    changed.view(np.uint32)[row, column] ^= np.uint32(1 << bit)
    differs = [one != other for one, other in zip(row_ids(features), row_ids(changed), strict=True)]
    assert differs == [each == row for each in range(6)]


@given(foreign=foreigners())
def test_what_was_taken_in_is_taken_in_unchanged(foreign: LabelledFeatures) -> None:
    parts = {name: value for name, value in vars(foreign).items() if name != "source"}
    assert_same(take_in(FoundArrays(**parts), source="any"), foreign)
