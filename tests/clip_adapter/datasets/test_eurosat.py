import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.datasets import DatasetError, ImageSource, describe, open_described
from clip_adapter.images import DEFAULT_OPTIONS, ReadOptions

Put = Callable[[Path, int], Path]
CLASS_NAMES = dict(describe("eurosat").classes)
SPLIT_FILE_NAME = "split_zhou_EuroSAT.json"


def open_eurosat(folder: Path, read: ReadOptions = DEFAULT_OPTIONS) -> ImageSource:
    return open_described(describe("eurosat"), folder, read)


def fill(folder: Path, put: Put) -> Path:
    for number, name in enumerate(CLASS_NAMES):
        put(folder / name / f"{name}_1.jpg", number)
    return folder


def published(**changes: Any) -> dict[str, list[list[Any]]]:
    rows = [
        [f"{name}/{name}_1.jpg", label, CLASS_NAMES[name]] for label, name in enumerate(CLASS_NAMES)
    ]
    return {"train": rows[:5], "val": rows[5:7], "test": rows[7:]} | changes


def publish(folder: Path, document: dict[str, list[list[Any]]]) -> None:
    (folder / SPLIT_FILE_NAME).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize("inner", ["", "2750", "EuroSAT", "EuroSAT_RGB"])
def test_it_is_found_in_the_folder_its_archive_unpacks_to(
    tmp_path: Path, put: Put, inner: str
) -> None:
    fill(tmp_path / inner, put)

    source = open_eurosat(tmp_path)

    assert source.name == "eurosat"
    assert source.folder == tmp_path / inner
    assert source.class_names[:2] == ("Annual Crop Land", "Forest")
    assert source.class_names[9] == "Sea or Lake"
    assert source.templates == ("a centered satellite photo of {}.",)
    assert [file.label for file in source.files] == list(range(10))


def test_a_class_folder_that_is_a_link_out_is_listed_only_where_links_may_lead_there(
    tmp_path: Path, put: Put
) -> None:
    folder = fill(tmp_path / "eurosat", put)
    (folder / "Forest").rename(tmp_path / "trees")
    (folder / "Forest").symlink_to(tmp_path / "trees")

    with pytest.raises(
        DatasetError, match=r"Forest is a link to .*trees, out of .*--follow-links ROOT"
    ):
        open_eurosat(folder)

    source = open_eurosat(folder, ReadOptions(follow_links=tmp_path / "trees"))
    assert "Forest/Forest_1.jpg" in {file.path for file in source.files}


def test_without_a_split_file_the_content_will_decide(tmp_path: Path, put: Put) -> None:
    assert {file.split for file in open_eurosat(fill(tmp_path, put)).files} == {None}


@pytest.mark.parametrize("beside", [True, False])
def test_the_published_split_is_used_beside_or_above_the_classes(
    tmp_path: Path, put: Put, *, beside: bool
) -> None:
    root = fill(tmp_path / "2750", put)
    put(root / "Forest" / "unlisted.jpg", 99)
    publish(root if beside else tmp_path, published())

    source = open_eurosat(tmp_path)

    assert [file.split for file in source.files] == ["train"] * 5 + ["val"] * 2 + ["test"] * 3


def test_a_missing_folder_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2750.*AnnualCrop.*zenodo.*--images"):
        open_eurosat(tmp_path / "eurosat")


def test_a_half_unpacked_archive_names_the_missing_classes(tmp_path: Path, put: Put) -> None:
    fill(tmp_path, put)
    (tmp_path / "River" / "River_1.jpg").unlink()
    (tmp_path / "River").rmdir()

    with pytest.raises(DatasetError, match="without the class folders River"):
        open_eurosat(tmp_path)


def test_a_class_folder_without_images_is_named(tmp_path: Path, put: Put) -> None:
    fill(tmp_path, put)
    (tmp_path / "River" / "River_1.jpg").unlink()

    with pytest.raises(DatasetError, match="River holds no images"):
        open_eurosat(tmp_path)


@pytest.mark.parametrize(
    "row",
    [["Forest/Forest_1.jpg", 0, "Annual Crop Land"], ["Forest/Forest_1.jpg", 1, "Wood"]],
)
def test_a_split_file_with_other_labels_is_refused(
    tmp_path: Path, put: Put, row: list[Any]
) -> None:
    fill(tmp_path, put)
    publish(tmp_path, published(train=[row]))

    with pytest.raises(DatasetError, match=r"expected \(1, 'Forest'\)"):
        open_eurosat(tmp_path)


def test_a_split_file_of_other_folders_is_refused(tmp_path: Path, put: Put) -> None:
    fill(tmp_path, put)
    publish(tmp_path, published(train=[["Desert/1.jpg", 0, "Annual Crop Land"]]))

    with pytest.raises(DatasetError, match="lies in none of"):
        open_eurosat(tmp_path)


def test_a_split_file_that_leaves_a_class_out_is_refused(tmp_path: Path, put: Put) -> None:
    fill(tmp_path, put)
    publish(tmp_path, published(test=[]))

    with pytest.raises(DatasetError, match="no image of class 'Residential'"):
        open_eurosat(tmp_path)
