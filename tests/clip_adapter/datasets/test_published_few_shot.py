"""Few-shot choices of others are found again among a dataset's images, or refused."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    Split,
    published_digest,
    read_few_shot_indices,
)

MakeIndex = Callable[[Sequence[tuple[bytes, int, Split]]], DatasetIndex]


def digest(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@pytest.fixture(name="index", scope="module")
def _index(make_index: MakeIndex) -> DatasetIndex:
    """Twelve images of two classes: rows 0-5 train, 6-7 val, 8-10 test, 11 a copy of row 0."""
    splits: list[Split] = ["train"] * 6 + ["val"] * 2 + ["test"] * 3 + ["train"]
    rows = [(digest(row), row % 2, split) for row, split in enumerate(splits)]
    return make_index([*rows[:11], (digest(0), 0, "train")])


def item(row: int, label: int | None = None, folder: str = "./data/made-up/") -> dict[str, Any]:
    label = row % 2 if label is None else label
    return {"impath": f"{folder}{row:06d}.png", "label": label, "classname": "x"}


def write(folder: Path, train: Any, val: Any) -> None:
    content = {"train": {"data": train}, "val": {"data": val}}
    (folder / "shot_2-seed_1.json").write_text(json.dumps(content))


GOOD = [item(0), item(2), item(1), item(3)]


def test_the_images_are_found_by_the_end_of_their_paths(
    index: DatasetIndex, tmp_path: Path
) -> None:
    write(tmp_path, [item(2, folder="/elsewhere/a/b/"), *GOOD[:1], *GOOD[2:]], [item(6, folder="")])
    split = read_few_shot_indices(tmp_path, index, shots=2, seed=1)
    assert (split.shots, split.seed) == (2, 1)
    assert split.train_rows.tolist() == [2, 0, 1, 3]
    assert split.val_rows.tolist() == [6]


def test_plain_lists_are_read_as_well(index: DatasetIndex, tmp_path: Path) -> None:
    content = {"train": GOOD, "val": [item(7)]}
    (tmp_path / "shot_2-seed_1.json").write_text(json.dumps(content))
    assert read_few_shot_indices(tmp_path, index, shots=2, seed=1).val_rows.tolist() == [7]


@pytest.mark.parametrize(
    ("train", "val", "reason"),
    [
        ([*GOOD[:3], item(77)], [], "'./data/made-up/000077.png', which is no readable image"),
        ([*GOOD[:3], item(3, label=0)], [], "the label 0, in the dataset it has 1"),
        ([*GOOD[:3], item(9)], [], "000009.png', an image of the test split"),
        (GOOD, [item(3)], "chooses an image twice"),
        ([item(0), item(11, label=0), item(1), item(3)], [], "chooses an image twice"),
        (GOOD[:3], [], "chooses 1 training images of class 'class 1', expected 2"),
        ([*GOOD, item(4)], [], "chooses 3 training images of class 'class 0', expected 2"),
        ([*GOOD[:3], {"label": 1}], [], "is no image, expected impath and label"),
        ([*GOOD[:3], "000003.png"], [], "is no image, expected impath and label"),
        ("all", [], "no list of images under 'train'"),
    ],
)
def test_a_choice_that_does_not_fit_the_dataset_is_refused(
    index: DatasetIndex, tmp_path: Path, train: Any, val: Any, reason: str
) -> None:
    write(tmp_path, train, val)
    with pytest.raises(DatasetError) as refusal:
        read_few_shot_indices(tmp_path, index, shots=2, seed=1)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("content", ["", "[", "[]", "3", '{"train": 3}'])
def test_a_file_of_another_form_is_refused(
    index: DatasetIndex, tmp_path: Path, content: str
) -> None:
    (tmp_path / "shot_2-seed_1.json").write_text(content)
    with pytest.raises(DatasetError):
        read_few_shot_indices(tmp_path, index, shots=2, seed=1)


def test_a_missing_file_says_how_it_must_be_called(index: DatasetIndex, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"shot_4-seed_2.json cannot be read .*shot_\{K\}"):
        read_few_shot_indices(tmp_path, index, shots=4, seed=2)
    with pytest.raises(DatasetError, match="shots is 0"):
        read_few_shot_indices(tmp_path, index, shots=0, seed=2)


def line(row: int, label: int | None = None) -> str:
    """An object as 2SFS writes it."""
    label = row % 2 if label is None else label
    named = {"_impath": f"made-up/{row:06d}.png", "_label": label, "_domain": 0, "_classname": "x"}
    return json.dumps(named)


def write_lines(folder: Path, train: Sequence[str], val: Sequence[str]) -> None:
    for part, lines in (("train", train), ("val", val)):
        (folder / f"shot_2-seed_1_{part}.jsonl").write_text("\n".join([*lines, ""]))


def test_the_lines_of_2sfs_choose_the_same_images_as_one_object(
    index: DatasetIndex, tmp_path: Path
) -> None:
    write(tmp_path, GOOD, [item(6)])
    expected = read_few_shot_indices(tmp_path, index, shots=2, seed=1)
    (tmp_path / "shot_2-seed_1.json").unlink()
    write_lines(tmp_path, [line(0), "", line(2), line(1), line(3)], [line(6)])
    found = read_few_shot_indices(tmp_path, index, shots=2, seed=1)
    assert found.train_rows.tolist() == expected.train_rows.tolist()
    assert found.val_rows.tolist() == expected.val_rows.tolist() == [6]


def test_a_publication_is_known_by_its_first_choice(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no published choice"):
        published_digest(tmp_path)
    write_lines(tmp_path, [line(0)], [line(6)])
    before = published_digest(tmp_path)
    for name in ("shot_16-seed_1.json", "shot_2-seed_10.json", "shot_1.json", "shot_1-seed_1.txt"):
        (tmp_path / name).write_bytes(b"\xff\xfe is no text")
    assert published_digest(tmp_path) == before
    write_lines(tmp_path, [line(0)], [line(7)])
    assert published_digest(tmp_path) != before


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ([line(0), line(2), line(1), line(3, label=0)], "the label 0, in the dataset it has 1"),
        ([line(0), line(2), line(1), line(9)], "an image of the test split"),
        ([line(0), line(2), line(1), "{"], "line 4 of .*_train.jsonl is not JSON"),
        ([line(0), line(2), line(1), "[1]"], "is no image, expected impath and label"),
        ([line(0), line(2), line(1), "[" * 100_000], "line 4 of .*_train.jsonl is not JSON"),
        ([line(0), line(2), line(1)], "chooses 1 training images of class 'class 1', expected 2"),
    ],
)
def test_lines_that_do_not_fit_the_dataset_are_refused(
    index: DatasetIndex, tmp_path: Path, train: Sequence[str], reason: str
) -> None:
    write_lines(tmp_path, train, [line(6)])
    with pytest.raises(DatasetError, match=reason):
        read_few_shot_indices(tmp_path, index, shots=2, seed=1)


def test_two_forms_of_one_choice_and_half_of_one_are_refused(
    index: DatasetIndex, tmp_path: Path
) -> None:
    write_lines(tmp_path, [line(0), line(2), line(1), line(3)], [])
    write(tmp_path, GOOD, [])
    with pytest.raises(DatasetError, match="keep one of the forms"):
        read_few_shot_indices(tmp_path, index, shots=2, seed=1)
    (tmp_path / "shot_2-seed_1.json").unlink()
    (tmp_path / "shot_2-seed_1_val.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"_val.jsonl cannot be read"):
        read_few_shot_indices(tmp_path, index, shots=2, seed=1)
