"""Class names from the names of folders, by rules."""

from pathlib import Path

import pytest

from clip_adapter.datasets import (
    DatasetError,
    ImageSource,
    keep_names,
    naming_notes,
    prompts_badly,
)
from clip_adapter.datasets.class_names import clean_name, name_classes, plain_name


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("guinea_pig", "guinea pig"),
        ("n01440764", "tench"),
        ("n99999999", "n99999999"),
        ("n02085620-Chihuahua", "Chihuahua"),
        ("001.Black_footed_Albatross", "Black footed Albatross"),
        ("3.5_mm", "3.5 mm"),
        ("7-eleven", "7 eleven"),
        ("12_cat", "12 cat"),
        ("AnnualCrop", "Annual Crop"),
        ("MRIScan", "MRI Scan"),
        ("TypeA", "Type A"),
        ("ForêtDense", "Forêt Dense"),
        ("TVsAndDVDs", "TVs And DVDs"),
        ("DVDs", "DVDs"),
        ("iPhone", "iPhone"),
        ("pHMeter", "pH Meter"),
        ("McLaren", "McLaren"),
        ("NORMAL", "NORMAL"),
        ("McLaren_MP4-12C", "McLaren MP4 12C"),
        ("St. Bernard", "St. Bernard"),
    ],
)
def test_a_folder_is_named_by_the_rules(folder: str, name: str) -> None:
    assert clean_name(folder) == name


def test_a_name_in_decomposed_unicode_is_composed() -> None:
    assert clean_name("Fore\u0302t") == "For\u00eat"


def test_numbers_before_all_names_are_left_out() -> None:
    assert name_classes(["0_cat", "1-dog", "02.owl"]) == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    "folders", [("7-eleven", "aldi"), ("3-seat_sofa", "3-drawer_chest"), ("2-door", "4-door")]
)
def test_numbers_that_are_parts_of_names_stay(folders: tuple[str, ...]) -> None:
    assert name_classes(folders) == tuple(map(plain_name, folders))


def test_folders_that_rules_would_name_alike_keep_their_own_words() -> None:
    assert name_classes(["1.cat", "cat", "dog"]) == ("1.cat", "cat", "dog")


def test_a_given_name_comes_before_the_rules() -> None:
    assert name_classes(["a_b", "AnnualCrop"], given={"a_b": "x-y"}) == ("x-y", "Annual Crop")


def test_a_given_name_that_a_folder_has_by_rule_is_refused() -> None:
    with pytest.raises(DatasetError, match="'dog' and 'x' both read 'dog'"):
        name_classes(["dog", "x"], given={"x": "dog"})


def test_the_classes_of_imagenet_have_distinct_names() -> None:
    ids = Path(clip_adapter_file()).read_text(encoding="utf-8").splitlines()
    folders = [line.partition(",")[0] for line in ids if line.startswith("n0") or line[:2] == "n1"]
    names = name_classes(folders)
    assert len(set(names)) == len(folders) == 1000
    assert (names[0], names[134]) == ("tench", "crane bird")


def clip_adapter_file() -> Path:
    from clip_adapter.datasets import class_names  # noqa: PLC0415  # only to find its folder

    return Path(class_names.__file__).parent / "imagenet_class_names.csv"


def source_of(*folders: str, **fields: tuple[str | None, ...]) -> ImageSource:
    source = ImageSource(
        "pets",
        Path(),
        class_names=name_classes(folders),
        templates=("{}",),
        files=(),
        **{"class_folders": folders, **fields},  # type: ignore[arg-type]
    )
    notes = ("another note", *naming_notes(source))
    return ImageSource(**{**vars(source), "notes": notes})


def test_names_that_rules_changed_are_shown() -> None:
    folders = ("n01440764", "001.Black_footed_Albatross", "AnnualCrop", "guinea_pig")
    assert source_of(*folders).notes[1] == (
        "class names from folders: n01440764 is 'tench', 001.Black_footed_Albatross is "
        "'Black footed Albatross' and 1 more; --class-names FILE names them otherwise"
    )


def test_names_of_spaces_alone_are_not_worth_a_note() -> None:
    assert naming_notes(source_of("guinea_pig", "cat")) == ()


@pytest.mark.parametrize("path", ["AnnualCrop/1.jpg", "train/AnnualCrop/1.jpg"])
def test_a_stored_class_keeps_its_name_of_before(path: str) -> None:
    kept = keep_names(source_of("AnnualCrop", "SeaLake"), [(path, "AnnualCrop")])
    assert kept.class_names == ("AnnualCrop", "Sea Lake")
    assert kept.notes == (
        "another note",
        "class names from folders: SeaLake is 'Sea Lake'; --class-names FILE names them otherwise",
    )


def test_a_stored_name_that_a_file_gave_is_not_kept() -> None:
    source = source_of("AnnualCrop", "SeaLake")
    assert keep_names(source, [("AnnualCrop/1.jpg", "crops")]) is source


def test_a_class_that_a_file_names_now_is_not_called_as_before() -> None:
    source = source_of("AnnualCrop", "SeaLake", class_folders=(None, "SeaLake"))
    assert keep_names(source, [("AnnualCrop/1.jpg", "AnnualCrop")]) is source


def test_a_stored_name_is_kept_in_its_unicode_form() -> None:
    source = source_of("For\u00eatDense", "SeaLake")
    kept = keep_names(source, [("Fore\u0302tDense/1.jpg", "Fore\u0302tDense")])
    assert kept.class_names[0] == "Fore\u0302tDense"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("n01440764", "is a WordNet id"),
        ("n02085620-Chihuahua", "begins with a WordNet id"),
        ("12", "is a number"),
        ("x", "is a single character"),
        ("1 - 2", "has no letter"),
        ("cat.jpg", "looks like the name of a file"),
        ("black_cat", "has underscores"),
        ("001.Albatross", "begins with the number of a list"),
        ("AnnualCrop", "is written in CamelCase"),
        ("a\x1b[2J", "is empty or has control characters"),
        (" ", "is empty or has control characters"),
    ],
)
def test_a_name_that_prompts_badly_is_told(name: str, why: str) -> None:
    assert prompts_badly(name) == why


@pytest.mark.parametrize("name", ["tench", "St. Bernard", "iPhone", "7 eleven", "猫犬", "DVDs"])
def test_a_name_that_prompts_well_is_not(name: str) -> None:
    assert prompts_badly(name) is None
