from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import (
    DATASETS,
    DatasetError,
    FolderOptions,
    check_dataset,
    describe,
    known_names,
    open_dataset,
)
from clip_adapter.datasets.own_data import FORMS
from clip_adapter.errors import UnknownNameError
from clip_adapter.images import ReadOptions

Put = Callable[[Path, int], Path]
CLASS_NAMES = dict(describe("eurosat").classes)


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
    own = {"imagefolder:PATH", *(form.written for form in FORMS.values())}
    assert set(DATASETS) >= {"digits", *known_names(), *own, "features:NAME"}
    assert all(DATASETS.values())


@pytest.mark.parametrize("name", ["photos", "photos/", "./photos", "sub:photos", "~/photos"])
def test_a_folder_is_named_as_an_imagefolder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for folder in ("photos", "sub:photos"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(DatasetError, match=f"is a folder: write imagefolder:{name.rstrip('/')}$"):
        open_dataset(name, data=tmp_path)


def test_an_absolute_folder_is_named_as_an_imagefolder(tmp_path: Path) -> None:
    for options in (FolderOptions(), FolderOptions(ignore=("models/*",))):
        with pytest.raises(DatasetError, match=f"write imagefolder:{tmp_path}$"):
            open_dataset(str(tmp_path), data=tmp_path, options=options)


@pytest.mark.parametrize("dataset", ["digits", "eurosat"])
def test_only_a_folder_is_given_a_name(tmp_path: Path, dataset: str) -> None:
    for ask in (open_dataset, check_dataset):
        with pytest.raises(DatasetError, match="leave --name out"):
            ask(dataset, data=tmp_path, options=FolderOptions(name="cats"))


@pytest.mark.parametrize("dataset", ["digits", "eurosat", "features:cats"])
@pytest.mark.parametrize(
    ("options", "flag"),
    [
        (FolderOptions(ignore=("models/*",)), "--ignore"),
        (FolderOptions(class_names=Path("names.csv")), "--class-names"),
    ],
)
def test_only_a_folder_has_files_left_out_and_classes_named(
    tmp_path: Path, dataset: str, options: FolderOptions, flag: str
) -> None:
    with pytest.raises(DatasetError, match=f"leave {flag} out"):
        open_dataset(dataset, data=tmp_path, options=options)


@pytest.mark.parametrize(
    ("read", "flag"),
    [
        (ReadOptions(follow_links=Path("/store")), "--follow-links"),
        (ReadOptions(max_pixels=9), "--max-pixels"),
    ],
)
def test_features_made_elsewhere_are_not_told_how_to_read_images(
    tmp_path: Path, read: ReadOptions, flag: str
) -> None:
    with pytest.raises(DatasetError, match=f"leave {flag} out"):
        open_dataset("features:cats", data=tmp_path, options=FolderOptions(read=read))


@pytest.mark.parametrize("dataset", ["digits", "eurosat"])
def test_images_of_every_dataset_are_read_as_is_asked(
    tmp_path: Path, put: Put, dataset: str
) -> None:
    for number, name in enumerate(CLASS_NAMES):
        put(tmp_path / "eurosat" / name / "1.jpg", number)
    read = ReadOptions(follow_links=tmp_path, max_pixels=9)

    source = open_dataset(dataset, data=tmp_path, options=FolderOptions(read=read))

    assert source.read == read


def test_what_no_name_is_proposed_one() -> None:
    for name, proposed in (("My Cats", "my-cats"), ("Katzen_ä", "katzen-a"), ("a" * 81, "a" * 80)):
        with pytest.raises(DatasetError, match=f"use a-z.*, as '{proposed}'"):
            FolderOptions(name=name)
    with pytest.raises(DatasetError, match=r"characters$"):
        FolderOptions(name="写真")


def test_a_known_name_is_a_dataset_although_a_folder_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)

    assert check_dataset("digits", data=tmp_path) == "digits"


@pytest.mark.parametrize("name", ["~nobody-of-this-name/photos", "a\0b", ""])
def test_a_name_that_no_folder_can_have_is_unknown(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownNameError):
        open_dataset(name, data=tmp_path)
