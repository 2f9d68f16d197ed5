import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    FewShotSampler,
    FewShotSplit,
    Split,
    most_shots,
    sample_few_shot,
    short_classes,
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
        (
            9,
            0,
            "leave such classes out (--short-classes skip), or train on what such a class has (",
        ),
        (9, 4, "use --shots 1,2,4,8,9 ("),
        (7, 0, "use --shots 1,2,3 ("),  # three to train and three to validate, of the seven
        (2, 1, "use --shots 1 ("),
        (1, 0, "use --shots all, which"),
        (0, 4, "no other number of shots would do, so add images"),
        (0, 4, "leave such classes out (--short-classes skip)"),
        (12, 4, "every class has enough for 16 shots (--no-validation)"),
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


COUNTS = st.tuples(st.integers(0, 12), st.integers(0, 6))


def with_a_class_of(n_train: int, n_val: int, *, n_test: int = 1) -> list[Row]:
    """Three classes of enough images, and a fourth, of label 3, with so many."""
    of_one: list[Row] = [(digest(5_000 + number), 3, "train") for number in range(n_train)]
    of_one += [(digest(6_000 + number), 3, "val") for number in range(n_val)]
    of_one += [(digest(7_000 + number), 3, "test") for number in range(n_test)]
    return [*TRAIN, *VAL, *TEST, *of_one]


def of_label(index: DatasetIndex, split: FewShotSplit, label: int) -> tuple[int, int]:
    """Numbers of images of a class that train and that validate."""
    train, val = (index.labels[rows].tolist() for rows in (split.train_rows, split.val_rows))
    return train.count(label), val.count(label)


@pytest.mark.parametrize(
    ("n_train", "n_val", "shots", "expected"),
    [
        (1, 1, 1, (1, 1)),  # of three images the third is for the test
        (1, 1, 4, (1, 1)),
        (1, 1, 8, (1, 1)),
        (1, 0, 4, (1, 0)),  # one that trains before one that validates
        (2, 0, 4, (1, 1)),
        (5, 0, 4, (4, 1)),
        (7, 0, 4, (4, 3)),
        (2, 1, 4, (2, 1)),  # another image validates, so both train
        (3, 4, 8, (3, 4)),
        (3, 4, ALL_SHOTS, (3, 4)),
    ],
)
def test_a_short_class_trains_on_what_it_has(
    make_index: MakeIndex, n_train: int, n_val: int, shots: int, expected: tuple[int, int]
) -> None:
    index = make_index(with_a_class_of(n_train, n_val))

    split = FewShotSampler(index, take_all=True).sample(shots=shots, seed=1)

    assert of_label(index, split, 3) == expected


@given(counts=COUNTS, shots=st.sampled_from([1, 2, 4, 8, ALL_SHOTS]), seed=SEEDS)
def test_a_short_class_changes_no_other_class_and_one_with_enough_is_not_short(
    make_index: MakeIndex, counts: tuple[int, int], shots: int, seed: int
) -> None:
    index = make_index(with_a_class_of(max(1, counts[0]), counts[1]))
    split = FewShotSampler(index, take_all=True).sample(shots=shots, seed=seed)

    n_train, n_val = of_label(index, split, 3)
    assert 1 <= n_train <= shots
    assert not set(split.train_rows) & set(split.val_rows)
    if 3 in short_classes(index, [shots]):
        whole = make_index(TRAIN + VAL + TEST)
        expected = sample_few_shot(whole, shots=shots, seed=seed)
        chosen_of_others = [
            [row for row in rows if index.labels[row] != 3]
            for rows in (split.train_rows, split.val_rows)
        ]
        assert [images(index, rows) for rows in chosen_of_others] == [*chosen(whole, expected)]
        assert n_train + n_val < shots + min(shots, 4)
    else:
        expected = sample_few_shot(index, shots=shots, seed=seed)
        digests = index.image_sha256
        assert split.fingerprint(digests) == expected.fingerprint(digests)


def test_a_class_without_an_image_to_train_on_has_nothing_to_take(make_index: MakeIndex) -> None:
    index = make_index(with_a_class_of(0, 4))

    with pytest.raises(DatasetError, match=r"'class 3' .* 0 distinct images .* skip\)$"):
        FewShotSampler(index, take_all=True).sample(shots=4, seed=1)


@given(counts=COUNTS, shots=st.sampled_from([1, 2, 4, 8, ALL_SHOTS]))
def test_the_short_classes_are_those_that_cannot_be_sampled(
    make_index: MakeIndex, counts: tuple[int, int], shots: int
) -> None:
    index = make_index(with_a_class_of(*counts))
    if short_classes(index, [shots]):
        with pytest.raises(DatasetError, match="'class 3'"):
            sample_few_shot(index, shots=shots, seed=1)
    else:
        sample_few_shot(index, shots=shots, seed=1)


def test_a_class_is_short_that_has_too_few_for_some_number_of_shots(make_index: MakeIndex) -> None:
    index = make_index(with_a_class_of(1, 1))
    assert (short_classes(index, [1]), short_classes(index, [1, 4])) == ((), (3,))


def test_a_class_without_a_test_image_is_short(make_index: MakeIndex) -> None:
    assert short_classes(make_index(with_a_class_of(9, 9, n_test=0)), [1]) == (3,)


def test_without_validation_the_val_split_follows_the_train_split(make_index: MakeIndex) -> None:
    index = make_index(with_a_class_of(3, 2))
    sampler = FewShotSampler(index, validation=False)
    few, more = (sampler.sample(shots=shots, seed=1) for shots in (3, 5))
    assert set(few.train_rows) < set(more.train_rows)
    assert [index.splits[row] for row in more.train_rows[-5:]] == ["train"] * 3 + ["val"] * 2
    assert (len(few.val_rows), len(more.val_rows)) == (0, 0)


def test_without_validation_all_shots_are_all_but_the_test_images(make_index: MakeIndex) -> None:
    index = make_index(with_a_class_of(3, 2))
    everything = sample_few_shot(index, shots=ALL_SHOTS, seed=1, validation=False)
    assert {index.splits[row] for row in everything.train_rows} == {"train", "val"}
    assert len(everything.train_rows) == len(index) - len(index.rows("test"))


@given(shots=SHOTS, seed=SEEDS)
def test_without_validation_the_same_images_train(
    make_index: MakeIndex, shots: int, seed: int
) -> None:
    index = make_index(TRAIN + VAL + TEST)
    validated = sample_few_shot(index, shots=shots, seed=seed)
    alone = sample_few_shot(index, shots=shots, seed=seed, validation=False)
    assert alone.train_rows.tolist() == validated.train_rows.tolist()


@given(counts=COUNTS, shots=st.sampled_from([1, 2, 4, 8, ALL_SHOTS]))
def test_without_validation_the_short_classes_are_those_that_cannot_be_sampled(
    make_index: MakeIndex, counts: tuple[int, int], shots: int
) -> None:
    index = make_index(with_a_class_of(*counts))
    is_short = short_classes(index, [shots], validation=False)
    needed = 1 if shots == ALL_SHOTS else shots
    assert is_short == ((3,) if sum(counts) < needed else ())
    assert most_shots(index, validation=False)[3] == sum(counts)
    if is_short:
        with pytest.raises(DatasetError, match=r"'class 3' .* in its train and val splits"):
            sample_few_shot(index, shots=shots, seed=1, validation=False)
    else:
        sample_few_shot(index, shots=shots, seed=1, validation=False)


def test_a_short_class_takes_both_splits_where_none_validates(make_index: MakeIndex) -> None:
    index = make_index(with_a_class_of(2, 1))
    split = FewShotSampler(index, take_all=True, validation=False).sample(shots=8, seed=1)
    assert of_label(index, split, 3) == (3, 0)


@pytest.mark.parametrize(("shots", "is_advised"), [(4, True), (8, False)])
def test_that_none_validates_is_advised_where_it_would_do(
    make_index: MakeIndex, shots: int, *, is_advised: bool
) -> None:
    index = make_index(with_a_class_of(4, 0))
    with pytest.raises(DatasetError) as refused:
        sample_few_shot(index, shots=shots, seed=1)
    assert ("--no-validation" in str(refused.value)) == is_advised


def test_no_group_both_trains_and_validates(make_index: MakeIndex) -> None:
    plain = make_index(TRAIN + TEST)
    patients = tuple(f"patient {row // 6}" for row in range(len(plain)))
    index = replace(plain, groups=patients)
    for seed in range(20):
        split = sample_few_shot(index, shots=1, seed=seed)
        train, val = (
            {patients[row] for row in rows} for rows in (split.train_rows, split.val_rows)
        )
        assert len(split.val_rows) == 3
        assert not train & val


def test_where_every_group_trains_there_is_none_to_validate_on(make_index: MakeIndex) -> None:
    plain = make_index(TRAIN + TEST)
    index = replace(plain, groups=("one patient",) * len(plain))
    with pytest.raises(
        DatasetError, match=r"0 are of a group of which no image trains.*--no-valid"
    ):
        sample_few_shot(index, shots=1, seed=1)
    assert len(sample_few_shot(index, shots=1, seed=1, validation=False).train_rows) == 3
    taken = FewShotSampler(index, take_all=True).sample(shots=1, seed=1)
    assert (len(taken.train_rows), len(taken.val_rows)) == (3, 0)
