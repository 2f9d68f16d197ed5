"""All shots are every training image, whatever a class has."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import DatasetError, DatasetIndex, Split, sample_few_shot
from clip_adapter.shots import ALL_SHOTS, shots_from_words

Row = tuple[bytes, int, Split]
MakeIndex = Callable[[Sequence[Row]], DatasetIndex]


def rows_of(split: Split, counts: Sequence[int]) -> list[Row]:
    return [
        (hashlib.sha256(f"{split} {label} {number}".encode()).digest(), label, split)
        for label, count in enumerate(counts)
        for number in range(count)
    ]


TEST = rows_of("test", [2, 2])


@given(seed=st.integers(0, 2**63 - 1))
def test_every_training_image_trains(make_index: MakeIndex, seed: int) -> None:
    index = make_index(rows_of("train", [3, 17]) + rows_of("val", [4, 9]) + TEST)
    split = sample_few_shot(index, shots=ALL_SHOTS, seed=seed)
    assert set(split.train_rows) == set(index.rows("train"))
    assert Counter(index.labels[split.val_rows].tolist()) == {0: 4, 1: 4}
    assert set(split.val_rows) <= set(index.rows("val"))


@pytest.mark.parametrize(("n_train", "n_val"), [(1, 0), (2, 1), (3, 1), (8, 4), (20, 4)])
def test_without_a_val_split_half_of_a_class_validates_at_most(
    make_index: MakeIndex, n_train: int, n_val: int
) -> None:
    index = make_index(rows_of("train", [n_train, 30]) + TEST)
    split = sample_few_shot(index, shots=ALL_SHOTS, seed=1)
    assert Counter(index.labels[split.val_rows].tolist())[0] == n_val
    assert Counter(index.labels[split.train_rows].tolist())[0] == n_train - n_val
    assert not set(split.val_rows) & set(split.train_rows)


def test_all_shots_hold_those_of_any_number(make_index: MakeIndex) -> None:
    index = make_index(rows_of("train", [9, 9]) + rows_of("val", [4, 4]) + TEST)
    few = sample_few_shot(index, shots=8, seed=1)
    everything = sample_few_shot(index, shots=ALL_SHOTS, seed=1)
    assert set(few.train_rows) < set(everything.train_rows)
    assert set(few.val_rows) == set(everything.val_rows)


def test_a_class_without_training_images_is_named(make_index: MakeIndex) -> None:
    index = make_index(rows_of("train", [3, 0]) + rows_of("val", [4, 4]) + TEST)
    with pytest.raises(DatasetError, match=r"class 'class 1' .* for all shots: 0 distinct"):
        sample_few_shot(index, shots=ALL_SHOTS, seed=1)


@pytest.mark.parametrize("text", ["-1", "ever", "1.5", str(ALL_SHOTS)])
def test_what_is_no_number_of_shots_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no number of shots; expected 0 to"):
        shots_from_words(text)
