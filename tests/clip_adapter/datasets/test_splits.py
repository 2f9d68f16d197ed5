import hashlib
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_adapter.datasets import (
    SPLITS,
    DatasetError,
    read_published_split,
    split_by_content,
)


def write(folder: Path, document: Any) -> Path:
    path = folder / "split.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def document(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "train": [["a/1.jpg", 0, "cat"]],
        "val": [["a/2.jpg", 0, "cat"]],
        "test": [["b/1.jpg", 1, "dog"]],
    }
    return whole | changes


@given(st.binary(min_size=32, max_size=32))
def test_every_digest_has_one_split(digest: bytes) -> None:
    assert split_by_content(digest) in SPLITS


@pytest.mark.parametrize(
    ("first_byte", "split"), [(0x7F, "train"), (0x80, "val"), (0xB2, "val"), (0xB4, "test")]
)
def test_the_thresholds_are_a_half_and_seven_tenths(first_byte: int, split: str) -> None:
    assert split_by_content(bytes([first_byte]) + bytes([255] * 7) + bytes(24)) == split


def test_many_images_divide_as_fifty_twenty_thirty() -> None:
    counts = Counter(
        split_by_content(hashlib.sha256(str(number).encode()).digest()) for number in range(10_000)
    )

    # 200: four standard deviations of a binomial count out of 10,000.
    assert counts["train"] == pytest.approx(5_000, abs=200)
    assert counts["val"] == pytest.approx(2_000, abs=200)


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(DatasetError, match="found 3"):
        split_by_content(b"abc")


def test_rows_come_in_the_order_train_val_test(tmp_path: Path) -> None:
    rows = read_published_split(write(tmp_path, document()))

    assert [(row.path, row.label, row.class_name, row.split) for row in rows] == [
        ("a/1.jpg", 0, "cat", "train"),
        ("a/2.jpg", 0, "cat", "val"),
        ("b/1.jpg", 1, "dog", "test"),
    ]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../up.jpg", "a/../../up.jpg", "a\\b.jpg", "", "\0"]
)
def test_a_path_that_could_leave_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DatasetError, match="stays in the folder"):
        read_published_split(write(tmp_path, document(val=[[path, 0, "cat"]])))


@pytest.mark.parametrize(
    "row",
    [
        ["a", 0],
        ["a", "0", "cat"],
        ["a", True, "cat"],
        ["a", -1, "cat"],
        ["a", 0, ""],
        {},
        None,
        1.5,
    ],
)
def test_a_malformed_row_is_named_by_its_place(tmp_path: Path, row: Any) -> None:
    rows = [["ok.jpg", 0, "cat"], row]

    with pytest.raises(DatasetError, match=r"val\[1\]"):
        read_published_split(write(tmp_path, document(val=rows)))


def test_a_missing_section_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no list 'val'"):
        read_published_split(write(tmp_path, {"train": [], "test": []}))


@pytest.mark.parametrize("text", ["", "{", "\ufffe", "[" * 100_000])
def test_a_file_that_is_not_json_says_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(DatasetError, match="not JSON"):
        read_published_split(path)


def test_bytes_that_are_no_text_are_not_json(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(b'{"train": "\xff\xfe\xff"}')

    with pytest.raises(DatasetError, match="not JSON"):
        read_published_split(path)


def test_another_kind_of_json_says_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds a list"):
        read_published_split(write(tmp_path, []))


def test_a_missing_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_published_split(tmp_path / "absent.json")


def test_an_image_in_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="in train and in test"):
        read_published_split(write(tmp_path, document(test=[["a//1.jpg", 0, "cat"]])))


def test_a_label_with_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="both 'cat' and 'dog'"):
        read_published_split(write(tmp_path, document(test=[["b/1.jpg", 0, "dog"]])))


@pytest.mark.shared_data
def test_the_published_split_of_eurosat_has_13500_5400_and_8100_images() -> None:
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    if folder is None:
        pytest.skip("CLIP_ADAPTER_TEST_DATA names no folder with splits/split_zhou_EuroSAT.json")

    rows = read_published_split(Path(folder) / "splits" / "split_zhou_EuroSAT.json")

    assert Counter(row.split for row in rows) == {"train": 13_500, "val": 5_400, "test": 8_100}
