"""Images of one patient or place stay on one side, whatever else is known of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given

from clip_adapter.datasets import DatasetIndex, ImageSource, LabelledFile, Split, build_index
from clip_adapter.datasets.splits import assign_splits, join_groups

Put = Callable[[Path, int], Path]


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


IMAGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60
)
KNOWN = st.dictionaries(st.integers(0, 60), st.sampled_from(["train", "val", "test"]), max_size=20)


@given(images=IMAGES, known=KNOWN)
def test_no_group_is_on_two_sides(
    images: list[tuple[int, int, int]], known: dict[int, Split]
) -> None:
    labelled = [(digest(number), label) for number, label, _ in images]
    groups = [(digest(number), f"g{group}") for number, _, group in images]
    splits = assign_splits(
        labelled, known={digest(n): split for n, split in known.items()}, groups=groups
    )
    found = defaultdict(set)
    for image, group in groups:
        found[group].add(splits[image])
    assert all(len(each) == 1 for each in found.values())
    assert splits.keys() == {image for image, _ in labelled}


@given(images=IMAGES, known=KNOWN)
def test_groups_of_one_image_are_split_as_images_are(
    images: list[tuple[int, int, int]], known: dict[int, Split]
) -> None:
    labelled = [(digest(number), label) for number, label, _ in images]
    of_images = {digest(n): split for n, split in known.items()}
    alone = assign_splits(labelled, known=of_images)
    grouped = assign_splits(
        labelled, known=of_images, groups=[(image, image.hex()) for image, _ in labelled]
    )
    assert alone == grouped


def test_groups_are_divided_in_the_proportions_of_images() -> None:
    images = [(n, n % 2, n // 5) for n in range(1000)]
    labelled = [(digest(number), label) for number, label, _ in images]
    groups = [(digest(number), f"g{group}") for number, _, group in images]
    splits = assign_splits(labelled, known={}, groups=groups)
    counts = Counter((label, splits[image]) for image, label in labelled)
    for label in (0, 1):
        shares = [counts[label, split] / 500 for split in ("train", "val", "test")]
        assert all(abs(a - b) < 0.02 for a, b in zip(shares, (0.5, 0.2, 0.3), strict=True))


def test_three_groups_of_any_size_are_in_three_splits() -> None:
    images = [(n, 0, 0) for n in range(90)] + [(90, 0, 1), (91, 0, 2)]
    labelled = [(digest(n), label) for n, label, _ in images]
    splits = assign_splits(labelled, known={}, groups=[(digest(n), str(g)) for n, _, g in images])
    assert Counter(splits.values())["train"] == 90
    assert set(splits.values()) == {"train", "val", "test"}


def test_groups_with_a_copy_of_one_image_are_one() -> None:
    groups = [(digest(0), "a"), (digest(1), "a"), (digest(1), "b"), (digest(2), "b")]
    assert len(set(join_groups(groups).values())) == 1


def test_what_is_split_depends_on_digests_and_not_on_names_or_order() -> None:
    labelled = [(digest(n), n % 3) for n in range(60)]
    one = assign_splits(labelled, known={}, groups=[(digest(n), f"g{n // 4}") for n in range(60)])
    other = assign_splits(
        labelled[::-1], known={}, groups=[(digest(n), f"z{-(n // 4)}") for n in range(59, -1, -1)]
    )
    assert one == other


def index_of(
    folder: Path,
    rows: Sequence[tuple[int, Split | None, str | None]],
    known: dict[bytes, Split] | None = None,
) -> DatasetIndex:
    """An index of pictures of two classes, by turns: number, split and group of each."""
    files = tuple(
        LabelledFile(f"{number}.png", number % 2, split, group) for number, split, group in rows
    )
    source = ImageSource("grouped", folder, ("even", "odd"), ("{}",), files)
    return build_index(source, known_splits=known or {}, max_bad_fraction=0)


def splits_of(index: DatasetIndex) -> dict[str, Split]:
    return dict(zip(index.paths, index.splits, strict=True))


def test_an_image_that_is_added_to_a_known_group_goes_with_it(tmp_path: Path, put: Put) -> None:
    for number in range(40):
        put(tmp_path / f"{number}.png", number)
    rows = [(number, None, f"g{number // 4}") for number in range(40)]
    early = index_of(tmp_path, [row for row in rows if row[0] % 4 != 3])
    known = dict(zip(early.image_sha256, early.splits, strict=True))
    late = index_of(tmp_path, rows, known)
    assert splits_of(early).items() <= splits_of(late).items()
    assert late.divided_groups() == []


def test_images_of_a_group_with_a_published_split_get_that_split(tmp_path: Path, put: Put) -> None:
    for number in range(20):
        put(tmp_path / f"{number}.png", number)
    rows = [(n, "test" if n in {0, 1} else None, "patient" if n < 6 else None) for n in range(20)]
    assigned = {f: s for f, s in splits_of(index_of(tmp_path, rows)).items() if int(f[:-4]) < 6}
    assert set(assigned.values()) == {"test"}
    # Also against what an earlier index said of the others.
    first = index_of(tmp_path, [(n, None, None) for n in range(20)])
    known = dict.fromkeys(first.image_sha256, "train")
    again = splits_of(index_of(tmp_path, rows, known))
    assert {again[f"{n}.png"] for n in range(6)} == {"test"}


def test_a_group_that_a_table_divides_is_counted_and_told(tmp_path: Path, put: Put) -> None:
    for number in range(8):
        put(tmp_path / f"{number}.png", number)
    rows = [(n, "train" if n < 4 else "test", f"g{n // 3}") for n in range(8)]
    index = index_of(tmp_path, rows)
    assert index.divided_groups() == ["g1"]
    said = (
        "groups of 'grouped' with images in several splits, as the given splits have it: 1 ('g1')"
    )
    assert any(said in note for note in index.source.notes)
    assert [*index.splits] == ["train"] * 4 + ["test"] * 4


def test_a_group_of_earlier_indexes_is_brought_together(tmp_path: Path, put: Put) -> None:
    """A column of groups that is added later must not leave a patient on two sides."""
    for number in range(40):
        put(tmp_path / f"{number}.png", number)
    first = index_of(tmp_path, [(n, None, None) for n in range(40)])
    known = dict(zip(first.image_sha256, first.splits, strict=True))
    index = index_of(tmp_path, [(n, None, f"g{n // 4}") for n in range(40)], known)
    assert index.divided_groups() == []
    assert {"train", "test"} <= set(index.splits)


def test_a_class_that_lost_its_test_images_is_divided_by_groups(tmp_path: Path, put: Put) -> None:
    for number in range(24):
        put(tmp_path / f"{number}.png", number)
    rows = [(n, None, f"g{n // 4}") for n in range(24)]
    known = dict.fromkeys(index_of(tmp_path, rows).image_sha256, "train")
    index = index_of(tmp_path, rows, known)
    assert index.divided_groups() == []
    assert {"train", "test"} <= set(index.splits)


def test_an_index_without_groups_divides_none(tmp_path: Path, put: Put) -> None:
    for number in range(4):
        put(tmp_path / f"{number}.png", number)
    index = index_of(tmp_path, [(n, "train" if n < 2 else "test", None) for n in range(4)])
    assert replace(index, groups=(None,) * 4).divided_groups() == []


def test_a_copy_of_a_published_image_has_its_split_whatever_its_group_has(
    tmp_path: Path, put: Put
) -> None:
    files = [
        LabelledFile("0.png", 0, "test", "g"),
        LabelledFile("copy.png", 0, None, "g"),
        *(LabelledFile(f"{number}.png", number % 2, "train", "g") for number in range(1, 6)),
    ]
    for number in range(6):
        put(tmp_path / f"{number}.png", number)
    put(tmp_path / "copy.png", 0)
    source = ImageSource("photos", tmp_path, ("a", "b"), ("a {}.",), files=tuple(files))
    index = build_index(source)
    assert index.leaks() == []
    assert dict(zip(index.paths, index.splits, strict=True))["copy.png"] == "test"
