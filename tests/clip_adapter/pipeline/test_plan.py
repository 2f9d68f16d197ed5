from pathlib import Path

import pytest
from steps import index_dataset

from clip_adapter.datasets import DatasetError
from clip_adapter.pipeline.plan import SplitSpec


def test_a_class_without_a_test_image_is_refused(photos: Path, root: Path) -> None:
    for split in ("train", "test"):
        (photos / split).mkdir()
    for name in ("red", "green", "blue"):
        (photos / name).rename(photos / "train" / name)
    (photos / "test" / "red").mkdir()
    (photos / "train" / "red" / "000.jpg").rename(photos / "test" / "red" / "000.jpg")
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    with pytest.raises(DatasetError, match=r"2 of 3 classes .* \('blue', 'green'\)"):
        SplitSpec(shots=[1], seeds=[1]).splits(indexed.index)


def test_the_digits_are_written_below_the_root(root: Path, tmp_path: Path) -> None:
    indexed = index_dataset("digits", root=root, data=tmp_path / "somebodys-datasets")
    assert indexed.folder == root / "images" / "digits"
    assert not (tmp_path / "somebodys-datasets").exists()
    SplitSpec(shots=[1], seeds=[1]).splits(indexed.index)


def test_who_chose_the_images_is_known_by_the_published_choices(tmp_path: Path) -> None:
    (tmp_path / "shot_1-seed_1.json").write_text("{}")
    ours, theirs = (SplitSpec(shots=[1], seeds=[1], indices=each) for each in (None, tmp_path))
    before = theirs.image_choice
    assert (ours.image_choice, before[:10]) == ("own", "published:")
    (tmp_path / "shot_1-seed_2.json").write_text("{}")
    assert theirs.image_choice != before
