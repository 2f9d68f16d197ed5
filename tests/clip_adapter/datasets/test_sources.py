from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, ImageSource, LabelledFile


def source(name: str = "pets", *files: LabelledFile) -> ImageSource:
    return ImageSource(name, Path(), class_names=("cat", "dog"), templates=("{}",), files=files)


@pytest.mark.parametrize("name", ["", "..", "a/b", "Pets", "a--b", "-a", "a b", "a\n"])
def test_a_name_that_is_no_slug_is_refused(name: str) -> None:
    with pytest.raises(DatasetError, match="not a slug"):
        source(name)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_without_a_class_is_refused(label: int) -> None:
    with pytest.raises(DatasetError, match=f"label {label}"):
        source("pets", LabelledFile("1.png", label, split=None))


def test_a_path_listed_twice_is_refused() -> None:
    with pytest.raises(DatasetError, match="names a path twice"):
        source(
            "pets", LabelledFile("1.png", 0, split="train"), LabelledFile("1.png", 0, split="test")
        )
