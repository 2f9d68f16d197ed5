"""A budget of labelled images in all is drawn whatever their class."""

import hashlib
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import DatasetError, DatasetIndex, FewShotSampler, FewShotSplit, Split

Row = tuple[bytes, int, Split]
MakeIndex = Callable[[Sequence[Row]], DatasetIndex]


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


UNBALANCED: list[Row] = [
    *((digest(number), 0, "train") for number in range(60)),
    *((digest(number), 1, "train") for number in range(60, 90)),
    *((digest(number), 2, "train") for number in range(90, 100)),
    *((digest(1_000 + number), number % 3, "val") for number in range(9)),
    *((digest(2_000 + number), number % 3, "test") for number in range(9)),
]


def draw(index: DatasetIndex, budget: int, seed: int = 1) -> FewShotSplit:
    return FewShotSampler(index).draw(budget=budget, seed=seed)


def test_the_images_are_those_with_the_smallest_digests_of_seed_and_image(
    make_index: MakeIndex,
) -> None:
    index = make_index(UNBALANCED)
    salt = b"clip-adapter few-shot split 1" + (7).to_bytes(8, "big")
    ranked = sorted(range(100), key=lambda row: hashlib.sha256(salt + digest(row)).digest())
    split = draw(index, 12, seed=7)
    assert set(split.train_rows.tolist()) == set(ranked[:12])
    assert index.labels[split.train_rows].tolist() == sorted(index.labels[ranked[:12]].tolist())
    assert (split.shots, split.seed, len(split.val_rows)) == (4, 7, 0)


@given(seed=st.integers(0, 2**63 - 1), less=st.integers(60, 80), more=st.integers(80, 100))
def test_a_smaller_budget_lies_inside_a_larger_one(
    make_index: MakeIndex, seed: int, less: int, more: int
) -> None:
    index = make_index(UNBALANCED)
    small, large = (set(draw(index, n, seed).train_rows.tolist()) for n in (less, more))
    assert (len(small), len(large)) == (less, more)
    assert small <= large <= set(range(100))


def test_classes_get_images_by_their_prevalence_and_some_none(make_index: MakeIndex) -> None:
    index = make_index(UNBALANCED)
    counts = [0, 0, 0]
    for seed in range(200):
        for label in index.labels[draw(index, 20, seed).train_rows].tolist():
            counts[label] += 1
    assert [round(count / 200, 1) for count in counts] == pytest.approx([12, 6, 2], abs=0.5)


def test_copies_are_one_image_and_two_labels_none(make_index: MakeIndex) -> None:
    index = make_index(
        [
            *((digest(number), number % 2, "train") for number in range(6)),
            (digest(0), 0, "train"),
            (digest(1), 0, "train"),
            (digest(2), 0, "test"),
            (digest(9), 1, "test"),
        ]
    )
    found = draw(index, 4).train_rows.tolist()
    assert sorted(index.image_sha256[row] for row in found) == sorted(map(digest, (0, 3, 4, 5)))
    with pytest.raises(DatasetError, match="has 4 distinct images with one label, 5 are asked for"):
        draw(index, 5)


def draw_pairs(index: DatasetIndex) -> None:
    for seed in range(100):
        draw(index, 2, seed)


def test_a_budget_of_one_class_is_refused(make_index: MakeIndex) -> None:
    index = make_index(UNBALANCED)
    with pytest.raises(DatasetError, match="are all of one class"):
        draw_pairs(index)
    with pytest.raises(DatasetError, match="budget is 1; expected 2"):
        draw(index, 1)
    with pytest.raises(DatasetError, match="seed is -1"):
        draw(index, 5, -1)
