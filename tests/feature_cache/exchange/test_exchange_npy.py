"""A matrix and the labels beside it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exchange_samples import sample

from feature_cache import InvalidInputError
from feature_cache.exchange import InvalidImportError, labels_beside, read_npy, write_npy

FEATURES = np.eye(3, dtype=np.float32)


def put(folder: Path, name: str = "x.npy", features: Any = FEATURES) -> Path:
    np.save(folder / name, features)
    return folder / name


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        ("x.npy", "x_labels.npy"),
        ("x.npy", "x_labels.txt"),
        ("x.npy", "x_labels.csv"),
        ("features.npy", "labels.npy"),
        ("train_features.npy", "train_labels.txt"),
    ],
)
def test_labels_are_found_by_name(tmp_path: Path, features: str, labels: str) -> None:
    (tmp_path / labels).touch()
    assert labels_beside(tmp_path / features) == tmp_path / labels


@pytest.mark.parametrize("there", [[], ["x_labels.npy", "x_labels.txt"]])
def test_no_labels_or_two_of_them_are_refused(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).touch()
    with pytest.raises(InvalidImportError, match="say which file it is"):
        read_npy(put(tmp_path))


def test_labels_of_a_matrix_may_be_a_matrix(tmp_path: Path) -> None:
    np.save(tmp_path / "x_labels.npy", np.array([1, 0, 1]))
    found = read_npy(put(tmp_path), class_names=["a", "b"])
    assert (found.labels.tolist(), found.source) == ([1, 0, 1], "x")


@pytest.mark.parametrize("text", ["1\n0\n1\n", "1\n0\n1", "\ufeff1\n0\n1\n", "1\r\n0\r\n1\r\n"])
def test_labels_may_be_lines_of_numbers(tmp_path: Path, text: str) -> None:
    (tmp_path / "x_labels.txt").write_bytes(text.encode())
    assert read_npy(put(tmp_path), class_names=["a", "b"]).labels.tolist() == [1, 0, 1]


def test_labels_may_be_lines_of_names(tmp_path: Path) -> None:
    (tmp_path / "x_labels.txt").write_text("Sea/Lake\nForest\nSea/Lake\n")
    assert read_npy(put(tmp_path)).class_names == ("Forest", "Sea/Lake")


def test_a_table_gives_all_that_is_known(tmp_path: Path) -> None:
    (tmp_path / "x_labels.csv").write_text(
        'split,label,class_name,path,unknown\ntest,1,"b, c",1.jpg,\ntrain,0,a,2.jpg,\ntest,1,"b, c",3.jpg,\n'
    )
    found = read_npy(put(tmp_path))
    assert found.class_names == ("a", "b, c")
    assert (found.labels.tolist(), found.splits) == ([1, 0, 1], ("test", "train", "test"))
    assert found.paths == ("1.jpg", "2.jpg", "3.jpg")


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("", "no rows"),
        ("label\n", "no rows"),
        ("label,split\n0,train\n1\n0,val\n", "longer or shorter"),
        ("label\n0\n1,2\n0\n", "longer or shorter"),
        ("name\na\nb\nc\n", "neither of labels nor"),
        ("label,class_name\n0,a\n0,b\n1,c\n", "label 0 is called 'a' and 'b'"),
        ("label,class_name\n0,a\n2,b\n0,a\n", "give class_names"),
        ("label\n0\n1\n1\n", "give class_names"),
        ('label\n"0\n', "cannot be read"),
        ("class_name\na\nb\n", "labels have 2 rows, the features 3"),
        ("class_name,split\na,x\na,x\na,x\n", "splits hold 'x'"),
    ],
)
def test_a_table_that_makes_no_labels_is_refused(tmp_path: Path, table: str, reason: str) -> None:
    (tmp_path / "x_labels.csv").write_text(table)
    with pytest.raises(InvalidImportError, match=reason):
        read_npy(put(tmp_path))


def test_class_names_that_are_given_settle_what_a_table_leaves_open(tmp_path: Path) -> None:
    (tmp_path / "x_labels.csv").write_text("label,class_name\n0,a\n2,c\n0,a\n")
    assert read_npy(put(tmp_path), class_names="abc").class_names == ("a", "b", "c")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\0\n\0\n\0\n"])
def test_labels_that_are_no_text_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x_labels.txt").write_bytes(content)
    with pytest.raises(InvalidImportError, match=r"x_labels\.txt|x\.npy"):
        read_npy(put(tmp_path))


def test_labels_of_another_sort_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InvalidImportError, match=r"read from \.npy, \.txt, \.csv, not from '\.pkl'"
    ):
        read_npy(put(tmp_path), labels=tmp_path / "labels.pkl")


def test_pickled_features_and_labels_are_refused(tmp_path: Path) -> None:
    objects = np.array([{}, {}, {}], dtype=object)
    np.save(tmp_path / "x_labels.npy", objects, allow_pickle=True)
    with pytest.raises(InvalidImportError, match=r"x_labels.*pickled Python objects"):
        read_npy(put(tmp_path))
    with pytest.raises(InvalidImportError, match=r"x\.npy.*pickled Python objects"):
        read_npy(put(tmp_path, features=objects))


def test_large_files_are_refused_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "x_labels.txt").write_text("a\nb\n" + "c" * 99)
    with pytest.raises(InvalidImportError, match=r"x_labels\.txt.* at most 50 are taken"):
        read_npy(put(tmp_path), max_bytes=50)
    with pytest.raises(InvalidImportError, match=r"x\.npy.* at most 35 are taken"):
        read_npy(put(tmp_path), max_bytes=35)


@pytest.mark.parametrize("there", ["x.npy", "x_labels.csv"])
def test_neither_file_is_replaced_unless_allowed(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(InvalidInputError, match=there):
        write_npy(tmp_path / "x.npy", sample())
    assert len(read_npy(write_npy(tmp_path / "x.npy", sample(), overwrite=True))) == 6
