import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, FolderOptions, ImageSource, build_index
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


def reasons(source: ImageSource) -> dict[str, str]:
    return {file.path: file.reason for file in source.excluded}


def test_files_in_folders_of_a_class_folder_belong_to_the_class(pets: Path, put: Put) -> None:
    put(pets / "cat" / "batch2" / "deep" / "1.png", 4)

    source = open_imagefolder(pets)

    assert [file.path for file in source.files if file.label == 0] == [
        "cat/1.webp",
        "cat/batch2/deep/1.png",
    ]


def test_hidden_files_and_files_outside_the_class_folders_are_counted(pets: Path, put: Put) -> None:
    (pets / "cat" / ".1.png").write_bytes(b"")
    (pets / ".git" / "objects").mkdir(parents=True)
    (pets / ".git" / "objects" / "1").write_bytes(b"")
    (pets / "__MACOSX" / "cat").mkdir(parents=True)
    (pets / "__MACOSX" / "cat" / "1.jpg").write_bytes(b"")
    (pets / "cat" / ".ipynb_checkpoints").mkdir()
    (pets / "README.md").write_text("pets", encoding="utf-8")
    (pets / "dataset.yaml").write_text("licence: CC0", encoding="utf-8")
    put(pets / "loose.png", 100).rename(pets / "loose")

    source = open_imagefolder(pets)

    assert len(source.files) == 3
    assert source.class_names == ("cat", "guinea pig")
    assert reasons(source) == {
        ".git/objects/1": "hidden",
        "README.md": "not an image",
        "__MACOSX/cat/1.jpg": "hidden",
        "cat/.1.png": "hidden",
        "dataset.yaml": "describes the dataset",
        "loose": "outside the class folders",
    }


def test_every_other_file_is_listed_whatever_its_suffix(pets: Path) -> None:
    for name in ("1.jfif", "1.avif", "picture", "Thumbs.db"):
        (pets / "cat" / name).write_bytes(b"")

    paths = {file.path for file in open_imagefolder(pets).files}

    assert {"cat/1.jfif", "cat/1.avif", "cat/picture", "cat/Thumbs.db"} <= paths


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


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("train", "dev", "test"),
        ("Train", "Valid", "TEST"),
    ],
)
def test_split_folders_become_splits(
    tmp_path: Path, put: Put, train: str, val: str, test: str
) -> None:
    for number, top in enumerate((train, val, test)):
        put(tmp_path / top / "cat" / "1.png", 2 * number)
        put(tmp_path / top / "dog" / "1.png", 2 * number + 1)

    source = open_imagefolder(tmp_path)

    assert source.class_names == ("cat", "dog")
    assert {(file.path, file.split) for file in source.files if file.label == 0} == {
        (f"{train}/cat/1.png", "train"),
        (f"{val}/cat/1.png", "val"),
        (f"{test}/cat/1.png", "test"),
    }
    assert source.notes == ()


def test_classes_called_train_and_test_that_hold_pictures_are_classes(
    tmp_path: Path, put: Put
) -> None:
    put(tmp_path / "train" / "1.png", 1)
    put(tmp_path / "test" / "1.png", 2)

    assert open_imagefolder(tmp_path).class_names == ("test", "train")


def test_split_folders_without_train_are_refused(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "val" / "cat" / "1.png", 1)
    put(tmp_path / "test" / "cat" / "1.png", 2)

    with pytest.raises(DatasetError, match="'test', 'val' but no 'train'"):
        open_imagefolder(tmp_path)


def test_training_images_without_class_folders_are_refused(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "train" / "1.png", 1)
    put(tmp_path / "test" / "cat" / "2.png", 2)

    with pytest.raises(DatasetError, match="no 'train' with class folders, which label"):
        open_imagefolder(tmp_path)


@pytest.fixture(name="divided")
def _divided(tmp_path: Path, put: Put) -> Path:
    """Two classes with 20 images each in train and two each in val."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(20):
            put(tmp_path / "d" / "train" / name / f"{number}.png", 100 * label + number)
        for number in range(2):
            put(tmp_path / "d" / "val" / name / f"{number}.png", 1_000 + 100 * label + number)
    return tmp_path / "d"


def test_without_test_images_train_is_divided_and_val_stays(divided: Path) -> None:
    source = open_imagefolder(divided)
    index = build_index(source)

    assert "those of train are divided into train and test" in "".join(source.notes)
    split_of = dict(zip(index.paths, index.splits, strict=True))
    assert {split for path, split in split_of.items() if path.startswith("val/")} == {"val"}
    assert {split for path, split in split_of.items() if path.startswith("train/")} == {
        "train",
        "test",
    }


@pytest.mark.parametrize("below", ["", "unknown"])
def test_a_test_folder_without_the_classes_is_unlabelled(
    divided: Path, put: Put, below: str
) -> None:
    for number in range(12):
        put(divided / "test" / below / f"{number}.png", 2_000 + number)

    source = open_imagefolder(divided)

    assert source.class_names == ("cat", "dog")
    assert list(reasons(source).values()) == ["no label"] * 12
    assert "test/ has 12 files without class folders" in source.notes[0]
    assert "left for prediction" in source.notes[0]
    assert {file.split for file in source.files} == {None, "val"}


def test_a_train_folder_alone_holds_the_classes(divided: Path) -> None:
    for path in divided.glob("val/*/*"):
        path.unlink()

    source = open_imagefolder(divided)

    assert {file.split for file in source.files} == {None}
    assert "divided into train, val and test" in "".join(source.notes)


def test_a_folder_beside_the_splits_is_named_with_what_leaves_it_out(
    divided: Path, put: Put
) -> None:
    put(divided / "test" / "cat" / "1.png", 3_000)
    (divided / "my models").mkdir()
    (divided / "my models" / "weights.bin").write_bytes(b"")

    with pytest.raises(DatasetError, match=r"beside them 'my models'.*--ignore 'my models'"):
        open_imagefolder(divided)

    source = open_imagefolder(divided, FolderOptions(ignore=("my models",)))
    assert {file.split for file in source.files} == {"train", "val", "test"}
    assert reasons(source) == {"my models/weights.bin": "ignored"}


def test_one_class_called_train_among_others_is_a_class(tmp_path: Path, put: Put) -> None:
    for number, path in enumerate(("bus/1.png", "car/1.png", "train/steam/1.png")):
        put(tmp_path / path, number)

    source = open_imagefolder(tmp_path)

    assert source.class_names == ("bus", "car", "train")
    assert source.notes[0].startswith("train/ is read as a class")


@pytest.mark.parametrize("beside", [("models/logo.png",), ("models/logo.png", "notes/1.png")])
def test_folders_of_hardly_any_images_beside_train_with_its_classes_are_named(
    tmp_path: Path, put: Put, beside: tuple[str, ...]
) -> None:
    for number, path in enumerate(("train/cat/1.png", "train/dog/1.png", *beside)):
        put(tmp_path / path, number)

    with pytest.raises(
        DatasetError, match=r"splits 'train' and beside them 'models'.*--ignore models"
    ):
        open_imagefolder(tmp_path)

    source = open_imagefolder(tmp_path, FolderOptions(ignore=("models", "notes")))
    assert source.class_names == ("cat", "dog")


def test_folders_of_other_files_beside_train_with_its_classes_are_named(
    tmp_path: Path, put: Put
) -> None:
    for number in range(4):
        put(tmp_path / "train" / ("cat", "dog")[number % 2] / f"{number}.png", number)
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / f"{number}.bin").write_bytes(b"weights")

    with pytest.raises(DatasetError, match="--ignore models"):
        open_imagefolder(tmp_path)


@pytest.mark.parametrize("trains", [("1.png", "2.png"), ("steam/1.png", "diesel/1.png")])
@pytest.mark.parametrize("cars", [("1.png", "2.png"), ("new/1.png", "old/1.png", "old/read.me")])
def test_a_class_called_train_beside_another_is_a_class(
    tmp_path: Path, put: Put, trains: tuple[str, ...], cars: tuple[str, ...]
) -> None:
    paths = (*(f"train/{name}" for name in trains), *(f"car/{name}" for name in cars))
    for number, path in enumerate(paths):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"") if path.endswith("me") else put(tmp_path / path, number)

    assert open_imagefolder(tmp_path).class_names == ("car", "train")


def test_a_class_called_train_has_images_beside_its_folders(tmp_path: Path, put: Put) -> None:
    paths = ("train/1.png", "train/old/1.png", "train/new/1.png", "car/1.png")
    for number, path in enumerate(paths):
        put(tmp_path / path, number)

    assert open_imagefolder(tmp_path).class_names == ("car", "train")


def test_files_beside_class_folders_of_a_split_are_counted(divided: Path, put: Put) -> None:
    put(divided / "train" / "loose.png", 4_000)
    (divided / "labels.csv").write_text("", encoding="utf-8")

    assert reasons(open_imagefolder(divided)) == {
        "labels.csv": "not an image",
        "train/loose.png": "outside the class folders",
    }


NFC, NFD = "For\u00eat", "Fore\u0302t"


def test_one_class_name_in_two_unicode_forms_is_one_class(tmp_path: Path, put: Put) -> None:
    for number, path in enumerate((f"train/{NFC}", f"test/{NFD}", "train/Mer", "test/Mer")):
        put(tmp_path / path / "1.png", number)

    source = open_imagefolder(tmp_path)

    assert source.class_names == (NFC, "Mer")
    assert {(file.path, file.split) for file in source.files if file.label == 0} == {
        (f"train/{NFC}/1.png", "train"),
        (f"test/{NFD}/1.png", "test"),
    }


def test_class_names_of_splits_that_differ_in_case_are_one_class(tmp_path: Path, put: Put) -> None:
    for number, path in enumerate(("train/Forest", "test/forest", "train/sea", "test/sea")):
        put(tmp_path / path / "1.png", number)

    source = open_imagefolder(tmp_path)

    assert source.class_names == ("Forest", "sea")
    assert source.notes == ("class folders 'Forest', 'forest' are one class, 'Forest'",)


def test_class_names_that_differ_in_case_in_one_split_are_named(tmp_path: Path, put: Put) -> None:
    for number, path in enumerate(("train/A", "train/a", "test/A")):
        put(tmp_path / path / "1.png", number)

    with pytest.raises(DatasetError, match=r"'A', 'a' of .* differ only in case"):
        open_imagefolder(tmp_path)

    put(tmp_path / "test" / "a" / "1.png", 9)
    source = open_imagefolder(tmp_path)
    assert source.class_names == ("A", "a")
    assert source.notes == ("class folders 'A', 'a' differ only in case and are 2 classes",)


def test_a_missing_folder_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"there is no folder .*absent"):
        open_imagefolder(tmp_path / "absent")


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no class folders; expected class/image"):
        open_imagefolder(tmp_path)


def test_a_folder_without_images_is_no_class(pets: Path) -> None:
    (pets / "fish").mkdir()
    (pets / "docs").mkdir()
    (pets / "docs" / "notes").write_text("pets", encoding="utf-8")

    source = open_imagefolder(pets)

    assert source.class_names == ("cat", "guinea pig")
    assert source.notes == ("folders without images are left out: 'docs', 'fish'",)
    assert reasons(source) == {"docs/notes": "not an image"}


def test_a_folder_of_images_without_suffixes_is_a_class(pets: Path, put: Put) -> None:
    put(pets / "fish" / "1.png", 7).rename(pets / "fish" / "1")

    assert open_imagefolder(pets).class_names == ("cat", "fish", "guinea pig")


def test_images_without_a_folder_are_counted_in_the_refusal(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "1.png", 1)

    with pytest.raises(DatasetError, match=r"no class folders.*not used: 1 outside the class"):
        open_imagefolder(tmp_path)


def test_a_folder_around_the_class_folders_is_named(pets: Path) -> None:
    with pytest.raises(DatasetError, match=r"'My Pets!/cat'.* write imagefolder:.*My Pets!"):
        open_imagefolder(pets.parent)


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


@pytest.mark.parametrize(
    ("pattern", "left_out"),
    [
        ("cat", {"cat/1.webp", "cat/sub/2.png"}),
        ("./cat/", {"cat/1.webp", "cat/sub/2.png"}),
        ("cat/*", {"cat/1.webp", "cat/sub/2.png"}),
        ("*/sub", {"cat/sub/2.png"}),
        ("*.JPG", {"guinea_pig/1.JPG"}),
        ("guinea_pig/[12].png", {"guinea_pig/2.png"}),
    ],
)
def test_what_a_pattern_matches_is_ignored(
    pets: Path, put: Put, pattern: str, left_out: set[str]
) -> None:
    put(pets / "cat" / "sub" / "2.png", 4)
    put(pets / "dog" / "1.png", 5)

    source = open_imagefolder(pets, FolderOptions(ignore=(pattern,)))

    assert reasons(source) == dict.fromkeys(left_out, "ignored")
    assert "matches nothing" not in "".join(source.notes)


def test_a_pattern_that_matches_nothing_is_said(pets: Path) -> None:
    source = open_imagefolder(pets, FolderOptions(ignore=("CAT", "cat/1.webp/x")))

    assert len(source.files) == 3
    assert [note.partition(" in ")[0] for note in source.notes] == [
        "--ignore 'CAT' matches nothing",
        "--ignore 'cat/1.webp/x' matches nothing",
    ]
