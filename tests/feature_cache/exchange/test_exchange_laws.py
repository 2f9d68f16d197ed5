"""Every format reads back what was written."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import assert_same, labelled_features
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_cache.exchange import (
    LabelledFeatures,
    read_clip_retrieval,
    read_npy,
    read_npz,
    read_safetensors,
    row_ids,
    write_clip_retrieval,
    write_npy,
    write_npz,
    write_safetensors,
)

few = settings(max_examples=25, deadline=None)  # a disk that syncs keeps no deadline


@few
@given(features=labelled_features())
def test_an_archive_reads_back_bit_for_bit(features: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_npz(Path(folder) / "any.npz", features)
        assert_same(read_npz(path), features)


@few
@given(features=labelled_features())
def test_a_matrix_and_its_labels_read_back_bit_for_bit(features: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_npy(Path(folder) / "any.npy", features)
        found = read_npy(path, class_names=features.class_names)
        assert_same(found, features, but="text_features logit_scale logit_bias")


@few
@given(features=labelled_features(), n_views=st.integers(0, 2), model=st.text())
def test_a_safetensors_file_reads_back_bit_for_bit(
    features: LabelledFeatures, n_views: int, model: str
) -> None:
    views = np.stack([features.features * (2 + v) for v in range(n_views)]) if n_views else None
    features = replace(features, views=views, description={"model": model})
    with tempfile.TemporaryDirectory() as folder:
        found = read_safetensors(write_safetensors(Path(folder) / "any.safetensors", features))
    assert_same(found, features)


@few
@given(features=labelled_features(every_class=True), rows_per_shard=st.integers(1, 9))
def test_a_folder_of_shards_reads_back_bit_for_bit(
    features: LabelledFeatures, rows_per_shard: int
) -> None:
    texts = features.text_features is not None
    with tempfile.TemporaryDirectory() as folder:
        place = write_clip_retrieval(
            Path(folder) / "any", features, keep_precision=True, rows_per_shard=rows_per_shard
        )
        found = read_clip_retrieval(place, text_by_class=texts)
    # Without paths the digest replaces one, as clip-retrieval always has an image_path.
    lost = "logit_scale logit_bias"
    assert_same(found, features, but=lost if features.paths else f"{lost} paths")


@few
@given(features=labelled_features())
def test_writing_again_writes_the_same_bytes(features: LabelledFeatures) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, other = (write_npz(Path(folder) / name, features) for name in ("1.npz", "2.npz"))
        assert one.read_bytes() == other.read_bytes()
        one, other = (write_safetensors(Path(folder) / name, features) for name in ("1.st", "2.st"))
        assert one.read_bytes() == other.read_bytes()


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran order": np.asfortranarray,
    "big endian": lambda rows: rows.astype(rows.dtype.newbyteorder(">")),
    "strided": lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(features=labelled_features())
def test_an_id_depends_on_the_values_and_not_on_their_layout(
    layout: str, features: LabelledFeatures
) -> None:
    assert row_ids(LAYOUTS[layout](features.features)) == row_ids(features.features)


@given(features=labelled_features(), data=st.data())
def test_rows_in_another_order_keep_their_ids(features: LabelledFeatures, data: Any) -> None:
    order = data.draw(st.permutations(range(len(features))))
    ids = row_ids(features.features)
    assert row_ids(features.features[list(order)]) == tuple(ids[row] for row in order)


@given(row=st.integers(0, 5), column=st.integers(0, 3), bit=st.integers(0, 31))
def test_one_other_bit_is_another_id(row: int, column: int, bit: int) -> None:
    features = np.ones((6, 4), np.float32) * np.arange(1, 7, dtype=np.float32)[:, None]
    changed = features.copy()
    changed.view(np.uint32)[row, column] ^= np.uint32(1 << bit)
    differs = [one != other for one, other in zip(row_ids(features), row_ids(changed), strict=True)]
    assert differs == [each == row for each in range(6)]


@given(features=labelled_features())
def test_checked_features_are_accepted_unchanged(features: LabelledFeatures) -> None:
    assert_same(LabelledFeatures.from_arrays(**vars(features)), features)
