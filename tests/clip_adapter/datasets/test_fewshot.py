import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    FewShotSampler,
    FewShotSplit,
    Split,
    sample_few_shot,
)
from clip_adapter.shots import ALL_SHOTS

Row = tuple[bytes, int, Split]
MakeIndex = Callable[[Sequence[Row]], DatasetIndex]

SHOTS = st.sampled_from([1, 2, 4, 8])
SEEDS = st.integers(0, 2**63 - 1)


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def rows_of(split: Split, *, per_class: int, first: int = 0, n_classes: int = 3) -> list[Row]:
    return [
        (digest(first + number), number % n_classes, split)
        for number in range(per_class * n_classes)
    ]


TRAIN = rows_of("train", per_class=12)
VAL = rows_of("val", per_class=5, first=1_000)
TEST = rows_of("test", per_class=5, first=2_000)


def images(index: DatasetIndex, rows: Sequence[int]) -> list[bytes]:
    return [index.image_sha256[row] for row in rows]


def chosen(index: DatasetIndex, split: FewShotSplit) -> tuple[list[bytes], list[bytes]]:
    return images(index, list(split.train_rows)), images(index, list(split.val_rows))


@given(asked=st.lists(st.tuples(SHOTS, st.integers(0, 2)), max_size=6))
def test_a_sampler_chooses_as_if_each_choice_were_the_only_one(
    make_index: MakeIndex, asked: list[tuple[int, int]]
) -> None:
    index = make_index(TRAIN + VAL + TEST)
    sampler = FewShotSampler(index)
    for shots, seed in asked:
        together = sampler.sample(shots=shots, seed=seed)
        alone = sample_few_shot(index, shots=shots, seed=seed)
        assert chosen(index, together) == chosen(index, alone)


@given(shots=SHOTS, seed=SEEDS)
def test_every_class_gets_its_shots_and_min_shots_4_to_validate(
    make_index: MakeIndex, shots: int, seed: int
) -> None:
    index = make_index(TRAIN + VAL + TEST)

    split = sample_few_shot(index, shots=shots, seed=seed)

    assert Counter(index.labels[split.train_rows].tolist()) == dict.fromkeys(range(3), shots)
    assert Counter(index.labels[split.val_rows].tolist()) == dict.fromkeys(range(3), min(shots, 4))
    assert set(split.train_rows) <= set(index.rows("train"))
    assert set(split.val_rows) <= set(index.rows("val"))


@given(shots=SHOTS, seed=SEEDS, order=st.permutations(TRAIN + VAL + TEST))
def test_the_order_of_rows_does_not_change_the_images(
    make_index: MakeIndex, shots: int, seed: int, order: list[Row]
) -> None:
    index, shuffled = make_index(TRAIN + VAL + TEST), make_index(order)

    one = sample_few_shot(index, shots=shots, seed=seed)
    two = sample_few_shot(shuffled, shots=shots, seed=seed)

    assert chosen(index, one) == chosen(shuffled, two)
    assert one.fingerprint(index.image_sha256) == two.fingerprint(shuffled.image_sha256)


@pytest.mark.parametrize("rows", [TRAIN + VAL + TEST, TRAIN + TEST])
@given(seed=SEEDS)
def test_fewer_shots_lie_inside_more_shots(
    make_index: MakeIndex, rows: list[Row], seed: int
) -> None:
    index = make_index(rows)

    few = sample_few_shot(index, shots=2, seed=seed)
    more = sample_few_shot(index, shots=8, seed=seed)

    assert set(few.train_rows) <= set(more.train_rows)
    assert set(few.val_rows) <= set(more.val_rows)


@given(seed=SEEDS)
def test_an_added_image_displaces_at_most_one_shot(make_index: MakeIndex, seed: int) -> None:
    index = make_index(TRAIN + VAL)
    larger = make_index([*TRAIN, *VAL, (digest(9_999), 0, "train")])

    before = set(chosen(index, sample_few_shot(index, shots=4, seed=seed))[0])
    after = set(chosen(larger, sample_few_shot(larger, shots=4, seed=seed))[0])

    assert len(before - after) <= 1


def test_another_seed_chooses_other_images(make_index: MakeIndex) -> None:
    index = make_index(TRAIN + VAL)

    prints = {
        sample_few_shot(index, shots=4, seed=seed).fingerprint(index.image_sha256)
        for seed in range(5)
    }

    assert len(prints) == 5


def test_without_a_val_split_validation_comes_from_the_rest_of_train(
    make_index: MakeIndex,
) -> None:
    index = make_index(TRAIN + TEST)

    split = sample_few_shot(index, shots=8, seed=1)

    assert set(split.val_rows) <= set(index.rows("train"))
    assert not set(split.val_rows) & set(split.train_rows)


@given(
    shots=SHOTS,
    seed=SEEDS,
    place=st.integers(0, 10**6),
    as_given=st.tuples(st.integers(0, 2), st.sampled_from(["train", "val", "test"])),
)
def test_a_copy_in_test_or_of_another_class_makes_a_chosen_image_no_candidate(
    make_index: MakeIndex, shots: int, seed: int, place: int, as_given: tuple[int, Split]
) -> None:
    rows, (label, split) = TRAIN + VAL + TEST, as_given
    index = make_index(rows)
    before = chosen(index, sample_few_shot(index, shots=shots, seed=seed))
    image = [*before[0], *before[1]][place % (6 * min(shots, 4))]
    (own_label,) = {each[1] for each in rows if each[0] == image}

    larger = make_index([*rows, (image, label, split)])
    train, val = chosen(larger, sample_few_shot(larger, shots=shots, seed=seed))

    if split == "test" or label != own_label:
        assert image not in {*train, *val}
    elif split == "val":
        assert image not in train
    else:
        assert (train, val) == before


copies = st.lists(
    st.tuples(
        st.sampled_from([image for image, *_ in TRAIN + VAL]),
        st.integers(0, 2),
        st.sampled_from(["train", "train", "val", "test"]),
    ),
    max_size=5,  # that many cannot leave a class with too few images
)


@given(copied=copies, shots=st.integers(1, 3), seed=SEEDS)
def test_copies_never_come_twice_nor_from_test_nor_with_two_labels(
    make_index: MakeIndex, copied: list[Row], shots: int, seed: int
) -> None:
    rows = [*TRAIN, *VAL, *TEST, *copied]
    index = make_index(rows)
    train, val = chosen(index, sample_few_shot(index, shots=shots, seed=seed))
    picks = [*train, *val]
    labels = {image: {label for other, label, _ in rows if other == image} for image in picks}
    assert len(set(picks)) == len(picks) == 2 * 3 * shots
    assert not set(picks) & {image for image, _, split in rows if split == "test"}
    assert all(len(names) == 1 for names in labels.values())


def test_a_class_with_too_few_images_is_named_with_its_numbers(make_index: MakeIndex) -> None:
    index = make_index([*TRAIN, (digest(5_000), 3, "train"), (digest(5_001), 3, "train")])

    with pytest.raises(DatasetError, match=r"'class 3'.*2 shots: 2 distinct.*4 needed"):
        sample_few_shot(index, shots=2, seed=0)


@pytest.mark.parametrize(
    ("n_train", "n_val", "advice"),
    [
        (9, 0, "use --shots 1,2,4,5 (every class has enough for 5, and no more), or add"),
        (9, 4, "use --shots 1,2,4,8,9 ("),
        (7, 0, "use --shots 1,2,3 ("),  # three to train and three to validate, of the seven
        (2, 1, "use --shots 1 ("),
        (1, 0, "use --shots all, which"),
        (0, 4, "no other number of shots would do, so add images"),
    ],
)
def test_a_class_with_too_few_images_says_which_shots_would_do(
    make_index: MakeIndex, n_train: int, n_val: int, advice: str
) -> None:
    of_one: list[Row] = [(digest(5_000 + number), 3, "train") for number in range(n_train)]
    of_one += [(digest(6_000 + number), 3, "val") for number in range(n_val)]
    index = make_index([*TRAIN, *VAL, *TEST, *of_one, (digest(7_000), 3, "test")])
    with pytest.raises(DatasetError) as refused:
        sample_few_shot(index, shots=16, seed=0)
    assert advice in str(refused.value)


@given(n_train=st.integers(0, 12), n_val=st.integers(0, 5))
def test_the_shots_that_would_do_are_those_that_do(
    make_index: MakeIndex, n_train: int, n_val: int
) -> None:
    counts = {"train": n_train, "val": n_val, "test": 1}
    rows = [
        (digest(place * 1_000 + number), number % 2, split)
        for place, (split, count) in enumerate(counts.items())
        for number in range(2 * count)
    ]
    index = make_index(rows)
    with pytest.raises(DatasetError) as refused:
        sample_few_shot(index, shots=16, seed=0)
    listed = re.findall(r"(?<=--shots )[\d,]+|all(?=, which)", str(refused.value))
    fitting = [
        ALL_SHOTS if shots == "all" else int(shots) for text in listed for shots in text.split(",")
    ]
    for shots in fitting:
        sample_few_shot(index, shots=shots, seed=0)
    most = max(fitting, default=0)
    if most < ALL_SHOTS:
        with pytest.raises(DatasetError):
            sample_few_shot(index, shots=most + 1, seed=0)


def test_copies_do_not_count_as_images(make_index: MakeIndex) -> None:
    copies_of_one: list[Row] = [(digest(1), 0, "train")] * 10

    with pytest.raises(DatasetError, match="1 distinct images in its train split"):
        sample_few_shot(make_index(copies_of_one), shots=2, seed=0)


@pytest.mark.parametrize(("shots", "seed"), [(0, 0), (-1, 0), (1, -1), (1, 2**63)])
def test_shots_and_seed_out_of_range_are_refused(
    make_index: MakeIndex, shots: int, seed: int
) -> None:
    with pytest.raises(DatasetError, match=r"shots is|seed is"):
        sample_few_shot(make_index(TRAIN), shots=shots, seed=seed)


def test_the_choice_is_the_same_on_every_machine(make_index: MakeIndex) -> None:
    index = make_index(TRAIN + VAL)

    # Golden: another value would make published few-shot results impossible to repeat.
    assert sample_few_shot(index, shots=4, seed=1).fingerprint(index.image_sha256) == (
        "8c1aa4f8cacee6b3487769eab4b8d0242266dd15283999838313929e967e9c81"
    )
