import dataclasses
import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_adapter.datasets import (
    DatasetError,
    DatasetIndex,
    ExcludedFile,
    ImageSource,
    LabelledFile,
    QuarantinedFile,
    Split,
    build_index,
    without_classes,
)

Put = Callable[[Path, int], Path]


def make_source(folder: Path, put: Put, *, n_images: int = 6) -> ImageSource:
    splits: tuple[Split, ...] = ("train", "val", "test")
    files = []
    for number in range(n_images):
        path = f"{'cat' if number % 2 else 'dog'}/{number}.png"
        put(folder / path, number)
        files.append(LabelledFile(path, number % 2, split=splits[number % 3], group=str(number)))
    names = ("dog", "cat")
    return ImageSource("pets", folder, class_names=names, templates=("{}",), files=tuple(files))


def add(source: ImageSource, *files: LabelledFile) -> ImageSource:
    return dataclasses.replace(source, files=(*source.files, *files))


def test_each_row_holds_what_the_file_holds(tmp_path: Path, put: Put) -> None:
    index = build_index(make_source(tmp_path, put))

    assert index.paths == tuple(sorted(index.paths))
    row = index.paths.index("dog/4.png")
    data = (tmp_path / "dog" / "4.png").read_bytes()
    assert index.image_sha256[row] == hashlib.sha256(data).digest()
    assert (index.labels[row], index.splits[row], index.groups[row]) == (0, "val", "4")
    assert (index.widths[row], index.heights[row], index.n_bytes[row]) == (6, 4, len(data))
    assert [index.labels.dtype, index.widths.dtype] == [np.dtype(np.int64), np.dtype(np.int32)]
    assert len(index) == 6


def test_the_columns_cannot_be_changed(tmp_path: Path, put: Put) -> None:
    with pytest.raises(ValueError, match="read-only"):
        build_index(make_source(tmp_path, put)).labels[0] = 1


def test_every_class_is_split_where_no_split_is_published(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    undecided = tuple(dataclasses.replace(file, split=None) for file in source.files)

    index = build_index(dataclasses.replace(source, files=undecided))

    for label in (0, 1):
        assert set(np.array(index.splits)[index.labels == label]) == {"train", "val", "test"}


def undecided_source(folder: Path, put: Put, *, n_images: int = 6) -> ImageSource:
    source = make_source(folder, put, n_images=n_images)
    files = tuple(dataclasses.replace(file, split=None) for file in source.files)
    return dataclasses.replace(source, files=files)


def test_an_image_keeps_the_split_that_is_known(tmp_path: Path, put: Put) -> None:
    source = undecided_source(tmp_path, put)
    first = build_index(source)
    moved: dict[Split, Split] = {"train": "test", "test": "train", "val": "train"}
    known = {d: moved[s] for d, s in zip(first.image_sha256, first.splits, strict=True)}

    assert build_index(source, known_splits=known).splits == tuple(known.values())


@pytest.mark.parametrize("known_split", ["train", "val", "test"])
def test_images_of_a_class_that_are_known_to_be_all_in_one_split_are_split_anew(
    tmp_path: Path, put: Put, known_split: Split
) -> None:
    source = undecided_source(tmp_path, put, n_images=20)
    first = build_index(source)
    known = dict.fromkeys(first.image_sha256, known_split)

    assert build_index(source, known_splits=known).splits == first.splits


def test_splitting_one_class_anew_moves_no_image_of_another(tmp_path: Path, put: Put) -> None:
    source = undecided_source(tmp_path, put, n_images=20)
    first = build_index(source)
    # Of the first class one image tests and nine train, far from the proportions; the other only trains.
    labels = dict(zip(first.image_sha256, first.labels.tolist(), strict=True))
    known: dict[bytes, Split] = dict.fromkeys(first.image_sha256, "train")
    known[next(digest for digest, label in labels.items() if label == 0)] = "test"

    index = build_index(source, known_splits=known)

    found = dict(zip(index.image_sha256, index.splits, strict=True))
    assert {d: s for d, s in found.items() if labels[d] == 0} == {
        d: s for d, s in known.items() if labels[d] == 0
    }
    assert {s for d, s in found.items() if labels[d] == 1} == {"train", "val", "test"}


def test_a_known_split_is_kept_where_a_class_has_a_single_image(tmp_path: Path, put: Put) -> None:
    source = undecided_source(tmp_path, put, n_images=2)
    known: dict[bytes, Split] = dict.fromkeys(build_index(source).image_sha256, "test")

    assert build_index(source, known_splits=known).splits == ("test", "test")


def test_a_published_split_is_taken_whatever_is_known(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    index = build_index(source)
    known: dict[bytes, Split] = dict.fromkeys(index.image_sha256, "val")

    assert build_index(source, known_splits=known).splits == index.splits


def test_a_copy_without_a_published_split_has_that_of_the_other(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    put(tmp_path / "dog" / "copy.png", 2)  # number 2 is in test

    index = build_index(add(source, LabelledFile("dog/copy.png", 0, split=None)))

    assert index.splits[index.paths.index("dog/copy.png")] == "test"


def three_classes(tmp_path: Path, put: Put) -> DatasetIndex:
    source = make_source(tmp_path, put)
    named = dataclasses.replace(source, class_names=("dog", "owl", "cat"))
    files = [dataclasses.replace(file, label=2 * file.label) for file in source.files]
    put(tmp_path / "owl" / "1.png", 60)
    owl = LabelledFile("owl/1.png", 1, split="train")
    return build_index(dataclasses.replace(named, files=(*files, owl)))


def test_a_class_that_is_left_out_is_excluded_and_the_others_numbered_anew(
    tmp_path: Path, put: Put
) -> None:
    index = three_classes(tmp_path, put)

    without = without_classes(index, [1], reason="short class")

    assert without.source.class_names == ("dog", "cat")
    assert without.excluded == (ExcludedFile("owl/1.png", "short class"),)
    assert without.fingerprint == build_index(make_source(tmp_path, put)).fingerprint
    assert {file.label for file in without.source.files} == {0, 1}


def test_an_index_without_no_classes_is_the_index(tmp_path: Path, put: Put) -> None:
    index = three_classes(tmp_path, put)

    assert without_classes(index, [], reason="short class") is index


def test_two_classes_must_be_left(tmp_path: Path, put: Put) -> None:
    with pytest.raises(DatasetError, match=r"1 of the 3 classes .* \('dog', 'owl'\)"):
        without_classes(three_classes(tmp_path, put), [0, 1], reason="short class")


def test_rows_of_a_split_are_its_row_numbers(tmp_path: Path, put: Put) -> None:
    index = build_index(make_source(tmp_path, put))

    assert [index.paths[row] for row in index.rows("test")] == ["cat/5.png", "dog/2.png"]


def test_what_cannot_be_read_is_quarantined_with_its_reason(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    (tmp_path / "page.jpg").write_bytes(b"<html>")
    (tmp_path / "out.png").symlink_to("/etc/passwd")
    broken = ("absent.png", "out.png", "page.jpg", "\udcff.png")

    index = build_index(
        add(source, *(LabelledFile(path, 0, split=None) for path in broken)), max_bad_fraction=0.5
    )

    assert len(index) == 6
    assert index.quarantined[0] == QuarantinedFile("absent.png", "the file does not exist", None)
    assert index.quarantined[1].reason.startswith("it is a link that leads out of the folder")
    assert index.quarantined[2].n_bytes == 6
    assert index.quarantined[3].path == "\\udcff.png"


def test_too_many_broken_files_stop_the_index_and_are_shown(tmp_path: Path, put: Put) -> None:
    source = add(make_source(tmp_path, put), LabelledFile("absent.png", 0, split=None))

    with pytest.raises(DatasetError, match=r"1 of the 7.*\n  absent.png: the file does not exist"):
        build_index(source)


def test_an_empty_dataset_is_refused(tmp_path: Path, put: Put) -> None:
    with pytest.raises(DatasetError, match="holds no images"):
        build_index(make_source(tmp_path, put, n_images=0))


def test_progress_ends_with_every_file_good_or_bad(tmp_path: Path, put: Put) -> None:
    source = add(make_source(tmp_path, put), LabelledFile("absent.png", 0, split=None))
    seen: list[int] = []

    build_index(source, max_bad_fraction=0.5, progress=seen.append)

    assert seen == sorted(seen)
    assert seen[-1] == 7


def test_the_fingerprint_depends_on_neither_place_nor_order(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path / "here", put)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    shuffled = random.Random(0).sample(source.files, len(source.files))  # noqa: S311 - no secret

    moved = dataclasses.replace(source, folder=tmp_path / "there", files=tuple(shuffled))

    assert build_index(source).fingerprint == build_index(moved).fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "beasts"},
        {"class_names": ("cat", "dog")},
        {"files": (LabelledFile("dog/0.png", 1, split="train"),)},
        {"files": (LabelledFile("dog/0.png", 0, split="test"),)},
        {"files": (LabelledFile("dog/2.png", 0, split="train"),)},
    ],
)
def test_the_fingerprint_tells_every_difference_that_matters(
    tmp_path: Path, put: Put, changes: dict[str, Any]
) -> None:
    source = make_source(tmp_path, put)
    single = dataclasses.replace(source, files=(LabelledFile("dog/0.png", 0, split="train"),))

    other = dataclasses.replace(single, **changes)

    assert build_index(other).fingerprint != build_index(single).fingerprint


def test_templates_are_not_in_the_fingerprint(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    reworded = dataclasses.replace(source, templates=("a drawing of a {}.",))

    assert build_index(source).fingerprint == build_index(reworded).fingerprint


def test_another_picture_under_the_same_name_is_another_fingerprint(
    tmp_path: Path, put: Put
) -> None:
    source = make_source(tmp_path, put)
    before = build_index(source).fingerprint
    put(tmp_path / "dog" / "0.png", 1_000)

    assert build_index(source).fingerprint != before


def test_an_image_in_both_train_and_test_is_a_leak(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    assert build_index(source).leaks() == []
    copy = put(tmp_path / "dog" / "copy.png", 0)  # number 0 is in train

    index = build_index(add(source, LabelledFile("dog/copy.png", 0, split="test")))

    assert index.leaks() == [hashlib.sha256(copy.read_bytes()).digest()]


def test_an_image_in_both_val_and_test_is_no_leak(tmp_path: Path, put: Put) -> None:
    source = make_source(tmp_path, put)
    put(tmp_path / "dog" / "val.png", 50)
    put(tmp_path / "dog" / "test.png", 50)
    files = (LabelledFile(f"dog/{split}.png", 0, split=split) for split in ("val", "test"))
    assert build_index(add(source, *files)).leaks() == []


@pytest.mark.parametrize(("limit", "is_refused"), [(2 / 8, False), (2 / 8 - 1e-9, True)])
def test_a_fraction_of_broken_files_at_the_limit_is_accepted(
    tmp_path: Path, put: Put, *, limit: float, is_refused: bool
) -> None:
    broken = (LabelledFile(f"absent-{number}.png", 0, split=None) for number in range(2))
    source = add(make_source(tmp_path, put), *broken)
    assert len(source.files) == 8
    if is_refused:
        with pytest.raises(DatasetError, match="2 of the 8"):
            build_index(source, max_bad_fraction=limit)
    else:
        assert len(build_index(source, max_bad_fraction=limit).quarantined) == 2
