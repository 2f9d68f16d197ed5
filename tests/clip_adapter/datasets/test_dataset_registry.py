from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import (
    DATASETS,
    DatasetError,
    FolderOptions,
    check_dataset,
    open_dataset,
)
from clip_adapter.datasets.eurosat import CLASS_NAMES
from clip_adapter.errors import UnknownNameError

Put = Callable[[Path, int], Path]


def test_a_dataset_lies_in_the_folder_of_its_name(tmp_path: Path, put: Put) -> None:
    for number, name in enumerate(CLASS_NAMES):
        put(tmp_path / "eurosat" / "2750" / name / "1.jpg", number)

    assert open_dataset("eurosat", data=tmp_path).folder == tmp_path / "eurosat" / "2750"


def test_its_own_folder_wins_over_the_data_folder(tmp_path: Path, put: Put) -> None:
    for number, name in enumerate(CLASS_NAMES):
        put(tmp_path / "mine" / name / "1.jpg", number)

    source = open_dataset("eurosat", data=tmp_path / "absent", images=tmp_path / "mine")

    assert source.folder == tmp_path / "mine"


def test_an_imagefolder_names_its_own_path(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "a" / "1.png", 1)
    put(tmp_path / "b" / "1.png", 2)

    source = open_dataset(f"imagefolder:{tmp_path}", data=Path("unused"))

    assert source.class_names == ("a", "b")


@pytest.mark.parametrize("name", ["eurosta", "EuroSAT", "eurosat:x"])
def test_an_unknown_name_suggests_the_nearest(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'eurosat'"):
        open_dataset(name, data=tmp_path)


@pytest.mark.parametrize("name", ["imagefolder", "imagefolder:"])
def test_an_imagefolder_without_a_path_says_how_to_write_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="write imagefolder:PATH"):
        open_dataset(name, data=tmp_path)


def test_an_imagefolder_with_two_paths_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="drop --images"):
        open_dataset(f"imagefolder:{tmp_path}", data=tmp_path, images=tmp_path)


def test_every_listed_dataset_has_a_description() -> None:
    assert set(DATASETS) == {"digits", "eurosat", "imagefolder:PATH", "features:NAME"}
    assert all(DATASETS.values())


def test_a_folder_is_told_how_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=f"write imagefolder:{tmp_path}"):
        open_dataset(str(tmp_path), data=tmp_path)


@pytest.mark.parametrize("dataset", ["digits", "eurosat"])
def test_only_a_folder_is_given_a_name(tmp_path: Path, dataset: str) -> None:
    for ask in (open_dataset, check_dataset):
        with pytest.raises(DatasetError, match="leave --name out"):
            ask(dataset, data=tmp_path, options=FolderOptions(name="cats"))


def test_what_no_name_is_proposed_one() -> None:
    for name, proposed in (("My Cats", "my-cats"), ("Katzen_ä", "katzen-a"), ("a" * 81, "a" * 80)):
        with pytest.raises(DatasetError, match=f"use a-z.*, as '{proposed}'"):
            FolderOptions(name=name)
    with pytest.raises(DatasetError, match=r"characters$"):
        FolderOptions(name="写真")
