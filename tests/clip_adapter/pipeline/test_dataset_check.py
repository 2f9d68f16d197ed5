"""What a check of a dataset finds, how serious it is, and what it says to do."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    ExcludedFile,
    FolderOptions,
    ImageSource,
    QuarantinedFile,
    Split,
    sample_few_shot,
)
from clip_adapter.pipeline.dataset_check import Finding, check_dataset, index_folder
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.shots import ALL_SHOTS

Image = tuple[str, str, Split]
"""Class, content and split of an image."""


def index_of(images: list[Image], **more: object) -> DatasetIndex:
    names = sorted({name for name, _, _ in images})
    n = len(images)
    made = DatasetIndex(
        source=ImageSource("pets", Path(), tuple(names), (), files=()),
        paths=tuple(f"{name}/{row}.jpg" for row, (name, _, _) in enumerate(images)),
        image_sha256=tuple(content.encode().ljust(32) for _, content, _ in images),
        labels=np.array([names.index(name) for name, _, _ in images], dtype=np.int64),
        splits=tuple(split for _, _, split in images),
        groups=(None,) * n,
        widths=np.full(n, 8, np.int32),
        heights=np.full(n, 8, np.int32),
        n_bytes=np.full(n, 900, np.int64),
        quarantined=(),
    )
    return replace(made, **more)  # type: ignore[arg-type]  # fields of the index


def many(name: str, *, train: int = 30, test: int = 5) -> list[Image]:
    splits: list[Split] = ["train"] * train + ["test"] * test
    return [(name, f"{name} {row}", split) for row, split in enumerate(splits)]


SOUND = many("cat") + many("dog")


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def test_a_sound_dataset_has_no_findings() -> None:
    assert check_dataset(index_of(SOUND)) == []


def test_a_picture_in_train_and_test_is_a_problem() -> None:
    found = only(check_dataset(index_of([*SOUND, ("cat", "cat 0", "test")])))
    assert (found.kind, found.severity) == ("leak", "problem")
    assert found.message.startswith("1 picture in both train and test")
    assert found.examples == ("cat/0.jpg (train) = cat/70.jpg (test)",)
    assert "remove" in found.fix


def test_a_picture_with_two_labels_is_a_problem_even_within_a_split() -> None:
    found = only(check_dataset(index_of([*SOUND, ("dog", "cat 0", "train")])))
    assert (found.kind, found.severity) == ("two labels", "problem")


def test_pictures_that_were_left_out_for_two_labels_are_a_problem() -> None:
    left_out = (ExcludedFile("cat/9.jpg", "two labels"), ExcludedFile("dog/9.jpg", "two labels"))
    found = only(check_dataset(index_of(SOUND, excluded=left_out)))
    assert (found.severity, found.message) == ("problem", "2 files left out: two labels")


def test_a_copy_within_a_split_is_a_warning() -> None:
    found = only(check_dataset(index_of([*SOUND, ("cat", "cat 0", "train")])))
    assert (found.kind, found.severity) == ("copies", "warning")


def test_a_copy_in_validation_is_a_warning() -> None:
    found = only(check_dataset(index_of([*SOUND, ("cat", "cat 0", "val")])))
    assert (found.kind, found.severity) == ("copies across splits", "warning")


@pytest.mark.parametrize(("n_bad", "severity"), [(1, "warning"), (10, "problem")])
def test_unreadable_files_are_a_problem_where_a_run_would_end(n_bad: int, severity: str) -> None:
    bad = tuple(QuarantinedFile(f"cat/bad-{row}.jpg", "it is empty", 0) for row in range(n_bad))
    found = only(check_dataset(index_of(SOUND, quarantined=bad)))
    assert (found.kind, found.severity) == ("unreadable", severity)
    assert ("--max-bad-fraction" in found.fix) == (severity == "problem")
    assert found.examples[0] == "cat/bad-0.jpg: it is empty"


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_class_without_an_image_in_a_split_is_a_problem(split: str) -> None:
    images = SOUND + many(
        "hen", train=0 if split == "train" else 30, test=0 if split == "test" else 5
    )
    found = only(check_dataset(index_of(images)))
    assert (found.kind, found.severity, found.examples) == (
        f"no {split} images",
        "problem",
        ("hen",),
    )


@pytest.mark.parametrize(
    ("n_train", "n_val", "shots", "limit"),
    [(1, 1, "4 shots", 1), (3, 0, "4 shots", 1), (4, 4, "16 shots", 4), (19, 0, "16 shots", 15)],
)
def test_a_class_too_small_for_some_shots_is_a_warning_with_a_number_that_does(
    n_train: int, n_val: int, shots: str, limit: int
) -> None:
    val: list[Image] = [("hen", f"val {row}", "val") for row in range(n_val)]
    index = index_of(SOUND + many("hen", train=n_train) + val)
    found = only(check_dataset(index))
    assert (found.kind, found.severity) == ("tiny classes", "warning")
    assert f"for {shots}" in found.message
    assert found.examples == (f"hen: {limit} shot{'s' if limit > 1 else ''}",)
    assert f"--shots {limit}{' or' if limit > 1 else ','}" in found.fix
    sample_few_shot(index, shots=limit, seed=1)
    with pytest.raises(DatasetError, match="'hen' has too few images"):
        sample_few_shot(index, shots=limit + 1, seed=1)


def test_a_class_too_small_for_one_shot_is_a_warning_that_says_what_does() -> None:
    index = index_of(SOUND + many("hen", train=1))
    found = only(check_dataset(index))
    assert (found.kind, found.examples) == ("tiny classes", ("hen: none",))
    assert "for 1 shot," in found.message
    assert "--shots all" in found.fix
    sample_few_shot(index, shots=ALL_SHOTS, seed=1)


def test_the_number_of_shots_that_is_advised_does_for_every_class() -> None:
    index = index_of(SOUND + many("hen", train=8) + many("owl", train=2))
    tiny = [each for each in check_dataset(index) if each.kind == "tiny classes"]
    assert [each.examples for each in tiny] == [("owl: 1 shot",), ("hen: 4 shots",)]
    assert all("--shots 1," in each.fix for each in tiny)


@pytest.mark.parametrize(("n_val", "is_said"), [(1, False), (2, True)])
def test_it_is_said_where_every_class_has_enough_if_none_validates(
    n_val: int, *, is_said: bool
) -> None:
    val: list[Image] = [("hen", f"val {row}", "val") for row in range(n_val)]
    index = index_of(SOUND + many("hen", train=14) + val)
    found = only(check_dataset(index))
    assert ("enough for 16 shots (--no-validation)" in found.fix) == is_said


def test_copies_make_no_class_large_enough() -> None:
    copies: list[Image] = [("hen", "hen 0", "train")] * 20
    found = {
        each.kind: each for each in check_dataset(index_of(SOUND + many("hen", train=2) + copies))
    }
    assert found["tiny classes"].examples == ("hen: 1 shot",)


def test_no_number_of_shots_is_advised_for_a_class_whose_train_images_all_test() -> None:
    leaked: list[Image] = [("hen", "hen 0", "train"), ("hen", "hen 0", "test")]
    found = {each.kind: each for each in check_dataset(index_of(SOUND + leaked))}
    assert found["tiny classes"].fix == (
        "add images, or leave the classes out with --short-classes skip"
    )


def test_a_class_name_that_prompts_badly_is_a_warning() -> None:
    found = only(check_dataset(index_of(SOUND + many("n01440764"))))
    assert (found.kind, found.severity) == ("class names", "warning")
    assert found.examples == ("'n01440764' is a WordNet id",)
    assert "--class-names" in found.fix


def test_files_that_are_no_images_are_a_note() -> None:
    excluded = (ExcludedFile("labels.csv", "not an image"),)
    found = only(check_dataset(index_of(SOUND, excluded=excluded)))
    assert (found.severity, found.message) == ("note", "1 file left out: not an image")


def test_problems_come_before_warnings() -> None:
    images = [*SOUND, *many("n01440764"), ("cat", "cat 0", "test")]
    assert [each.severity for each in check_dataset(index_of(images))] == ["problem", "warning"]


def test_many_examples_are_cut_and_counted() -> None:
    copies: list[Image] = [("cat", f"cat {row}", "train") for row in range(8)]
    assert only(check_dataset(index_of(SOUND + copies))).examples[-1] == "and 3 more"


def test_a_folder_of_broken_files_is_indexed_to_be_checked(photos: Path) -> None:
    for number in range(20):
        (photos / "red" / f"bad-{number}.jpg").write_bytes(b"")
    index = index_folder(f"imagefolder:{photos}", options=FolderOptions(), reporter=Reporter())
    assert (len(index), len(index.quarantined)) == (90, 20)


def test_a_class_of_which_no_file_can_be_used_is_a_problem_and_no_end(photos: Path) -> None:
    for picture in (photos / "red").iterdir():
        picture.write_bytes(b"")
    index = index_folder(f"imagefolder:{photos}", options=FolderOptions(), reporter=Reporter())
    found = {each.kind: each for each in check_dataset(index)}
    assert found.keys() == {"unreadable", "no images", "tiny classes"}
    assert (found["no images"].severity, found["no images"].examples) == ("problem", ("red",))
    assert "--ignore" in found["no images"].fix


def test_a_folder_whose_pictures_all_have_two_labels_is_checked(photos: Path) -> None:
    for name in ("green", "blue"):
        shutil.rmtree(photos / name)
    shutil.copytree(photos / "red", photos / "blue")
    index = index_folder(f"imagefolder:{photos}", options=FolderOptions(), reporter=Reporter())
    found = {each.kind: each for each in check_dataset(index)}
    assert found["no images"].examples == ("blue", "red")
    assert found["left out"].message == "60 files left out: two labels"
