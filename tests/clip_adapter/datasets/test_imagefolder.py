import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, FolderOptions
from clip_adapter.datasets.imagefolder import open_imagefolder

Put = Callable[[Path, int], Path]


@pytest.fixture(name="pets")
def _pets(tmp_path: Path, put: Put) -> Path:
    folder = tmp_path / "My Pets!"
    put(folder / "guinea_pig" / "2.png", 1)
    put(folder / "guinea_pig" / "1.JPG", 2)
    put(folder / "cat" / "1.webp", 3)
    return folder


def test_class_folders_become_labels_in_sorted_order(pets: Path) -> None:
    source = open_imagefolder(pets)

    assert source.class_names == ("cat", "guinea pig")
    assert source.templates == ("a photo of a {}.",)
    assert [(file.path, file.label, file.split) for file in source.files] == [
        ("cat/1.webp", 0, None),
        ("guinea_pig/1.JPG", 1, None),
        ("guinea_pig/2.png", 1, None),
    ]


def test_hidden_files_and_other_files_are_passed_over(pets: Path) -> None:
    (pets / "cat" / ".1.png").write_bytes(b"")
    (pets / "cat" / "notes.txt").write_text("meow", encoding="utf-8")
    (pets / ".git").mkdir()
    (pets / "README.md").write_text("pets", encoding="utf-8")

    assert len(open_imagefolder(pets).files) == 3


@pytest.mark.parametrize(
    ("folder", "slug"),
    [
        ("My Pets!", "my-pets"),
        ("Forêt", "foret"),
        ("Fore\u0302t", "foret"),
        ("2024", "2024"),
        ("写真 cats", "cats"),
        ("a" * 100, "a" * 80),
    ],
)
def test_the_name_is_that_of_the_folder_wherever_it_lies(
    pets: Path, tmp_path: Path, folder: str, slug: str
) -> None:
    for place in (tmp_path / "here", tmp_path / "there"):
        shutil.copytree(pets, place / folder)
        assert open_imagefolder(place / folder).name == slug


def test_a_linked_folder_is_called_by_the_name_of_the_link(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(pets)
    assert open_imagefolder(tmp_path / "latest").name == "latest"


def test_the_working_directory_is_called_by_its_name(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pets / "cat")
    assert open_imagefolder(Path("..")).name == "my-pets"


@pytest.mark.parametrize("folder", ["写真", "写真 2", "!"])
def test_a_folder_name_without_letters_needs_another(
    pets: Path, tmp_path: Path, folder: str
) -> None:
    pets.rename(tmp_path / folder)
    with pytest.raises(DatasetError, match=r"no letters a-z .* with --name"):
        open_imagefolder(tmp_path / folder)
    assert open_imagefolder(tmp_path / folder, FolderOptions(name="cats")).name == "cats"


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_split_folders_become_splits(tmp_path: Path, put: Put, val: str) -> None:
    for number, top in enumerate(("train", val, "test")):
        put(tmp_path / top / "cat" / "1.png", 2 * number)
        put(tmp_path / top / "dog" / "1.png", 2 * number + 1)

    source = open_imagefolder(tmp_path)

    assert source.class_names == ("cat", "dog")
    assert {(file.path, file.split) for file in source.files if file.label == 0} == {
        ("train/cat/1.png", "train"),
        (f"{val}/cat/1.png", "val"),
        ("test/cat/1.png", "test"),
    }


def test_classes_called_train_and_test_that_hold_pictures_are_classes(
    tmp_path: Path, put: Put
) -> None:
    put(tmp_path / "train" / "1.png", 1)
    put(tmp_path / "test" / "1.png", 2)

    assert open_imagefolder(tmp_path).class_names == ("test", "train")


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_split_folders_without_train_or_test_are_refused(
    tmp_path: Path, put: Put, lacking: str
) -> None:
    for top in {"train", "val", "test"} - {lacking}:
        put(tmp_path / top / "cat" / "1.png", 1)

    with pytest.raises(DatasetError, match=f"no '{lacking}'"):
        open_imagefolder(tmp_path)


def test_a_missing_folder_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no folder .*absent"):
        open_imagefolder(tmp_path / "absent")


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no class folders; expected class/image"):
        open_imagefolder(tmp_path)


def test_a_class_without_images_is_named(pets: Path) -> None:
    (pets / "fish").mkdir()

    with pytest.raises(DatasetError, match=r"'fish'.*holds no images"):
        open_imagefolder(pets)


def test_one_class_is_not_a_classification(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "cat" / "1.png", 1)

    with pytest.raises(DatasetError, match="takes two"):
        open_imagefolder(tmp_path)


def test_two_folders_that_read_the_same_are_refused(pets: Path, put: Put) -> None:
    put(pets / "guinea-pig" / "1.png", 4)

    with pytest.raises(DatasetError, match="both read 'guinea pig'"):
        open_imagefolder(pets)


@pytest.mark.parametrize("name", ["__", "a\ab", "\udcff"])
def test_a_folder_name_that_cannot_be_prompted_is_refused(pets: Path, put: Put, name: str) -> None:
    put(pets / name / "1.png", 4)

    with pytest.raises(DatasetError, match="makes no class name"):
        open_imagefolder(pets)


def test_a_class_folder_that_links_out_is_refused(pets: Path, put: Put) -> None:
    put(pets.parent / "outside" / "1.png", 4)
    (pets / "dog").symlink_to(pets.parent / "outside")

    with pytest.raises(DatasetError, match="link out of"):
        open_imagefolder(pets)
