"""The images on which candidate and champion are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_datasets import SyntheticDatasets

from clip_adapter.datasets import DatasetIndex, Split
from clip_adapter.pipeline.index import read_index
from clip_adapter.pipeline.paired_evaluation import held_out_rows


@pytest.fixture(name="index")
def _index(root: Path) -> DatasetIndex:
    return read_index(
        SyntheticDatasets(root).make_dataset(sizes={"train": 3, "val": 4, "test": 2}).dataset
    )


def splits_of(index: DatasetIndex, seen: frozenset[bytes] = frozenset()) -> list[Split]:
    return [index.splits[row] for row in held_out_rows(index, seen)]


def test_they_are_the_validation_images(index: DatasetIndex) -> None:
    assert splits_of(index) == ["val"] * 12


def test_without_a_validation_split_they_are_training_images(index: DatasetIndex) -> None:
    splits: dict[Split, Split] = {"train": "train", "val": "train", "test": "test"}
    without = replace(index, splits=tuple(splits[each] for each in index.splits))
    assert splits_of(without) == ["train"] * 21


def test_what_was_learned_from_is_left_out_by_its_bytes(index: DatasetIndex) -> None:
    seen = frozenset(index.image_sha256[row] for row in index.rows("val")[:5])
    rows = held_out_rows(index, seen)
    assert len(rows) == 7
    assert seen.isdisjoint(index.image_sha256[row] for row in rows)


def test_a_copy_counts_once_and_one_that_is_tested_not_at_all(index: DatasetIndex) -> None:
    val, test = index.rows("val"), index.rows("test")
    digests = list(index.image_sha256)
    digests[val[1]] = digests[val[0]]
    digests[val[2]] = digests[test[0]]
    rows = held_out_rows(replace(index, image_sha256=tuple(digests)), frozenset())
    assert set(rows.tolist()) == set(val.tolist()) - {val[1], val[2]}


def test_an_image_with_two_labels_is_left_out(index: DatasetIndex) -> None:
    val = index.rows("val")
    digests = list(index.image_sha256)
    digests[val[-1]] = digests[val[0]]  # a cat and a hen
    rows = held_out_rows(replace(index, image_sha256=tuple(digests)), frozenset())
    assert set(rows.tolist()) == set(val[1:-1].tolist())


def test_where_everything_was_learned_from_nothing_is_left(index: DatasetIndex) -> None:
    rows = held_out_rows(index, frozenset(index.image_sha256))
    assert (rows.dtype, len(rows)) == (np.int64, 0)
