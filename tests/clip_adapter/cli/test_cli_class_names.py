"""Names of classes from the command line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.fixture(name="birds")
def _birds(photos: Path) -> Path:
    """Folders as people have them: of ImageNet, of CUB and of EuroSAT."""
    names = ("n01440764", "001.Black_footed_Albatross", "AnnualCrop")
    for old, new in zip(("red", "green", "blue"), names, strict=True):
        shutil.move(photos / old, photos / new)
    return photos


@pytest.fixture(name="names_of")
def _names_of(command: Command, root: Path) -> Callable[[], list[str]]:
    """The class names that the store has, sorted."""

    def names_of() -> list[str]:
        asked = "SELECT DISTINCT class_name FROM images ORDER BY ALL"
        told = command("sql", asked, "--root", root, "--format", "json").out
        return [row["class_name"] for row in json.loads(told)]

    return names_of


@pytest.mark.usefixtures("birds")
def test_class_names_of_folders_are_cleaned_and_said(
    extract: Command, names_of: Callable[[], list[str]]
) -> None:
    outcome = extract()
    assert outcome.code == 0
    assert "001.Black_footed_Albatross is 'Black footed Albatross'" in outcome.err
    assert names_of() == ["Annual Crop", "Black footed Albatross", "tench"]


@pytest.mark.usefixtures("birds")
def test_a_file_names_the_classes(
    extract: Command, names_of: Callable[[], list[str]], tmp_path: Path
) -> None:
    lines = "n01440764,a fish\nAnnualCrop,fields\n001.Black_footed_Albatross,an albatross\n"
    (tmp_path / "names.csv").write_text(lines, encoding="utf-8")
    outcome = extract("--class-names", tmp_path / "names.csv")
    assert outcome.code == 0
    assert "class names from folders" not in outcome.err
    assert names_of() == ["a fish", "an albatross", "fields"]


@pytest.mark.usefixtures("birds")
def test_a_misspelt_folder_in_the_file_ends_the_command(extract: Command, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("AnualCrop,fields\n", encoding="utf-8")
    outcome = extract("--class-names", tmp_path / "names.csv")
    assert outcome.code != 0
    assert "did you mean 'AnnualCrop'?" in outcome.err
