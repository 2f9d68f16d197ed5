"""The commands about datasets: what they print, and how they end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., Any]


@pytest.fixture(name="datasets")
def _datasets(command: Command, root: Path) -> Command:
    """Run a command of the group on the store."""
    return lambda *arguments: command("datasets", *arguments, "--root", root)


@pytest.fixture(name="indexed")
def _indexed(extract: Command, photos: Path) -> Path:
    assert extract().code == 0
    return photos


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("indexed")
def test_the_group_alone_lists_the_datasets(datasets: Command) -> None:
    assert datasets("--json").out == datasets("list", "--json").out
    assert datasets().out == datasets("list").out


def test_a_list_says_where_images_are_and_what_to_do_if_they_are_gone(
    datasets: Command, indexed: Path
) -> None:
    (row,) = json.loads(datasets("list", "--json").out)["indexed"]
    assert (row["dataset"], row["images"], row["classes"]) == ("photos", 90, 3)
    assert (row["state"], row["source"], row["next_step"]) == ("present", str(indexed), "")
    assert (row["quarantined"], row["excluded"]) == (0, {})
    shutil.rmtree(indexed)
    (row,) = json.loads(datasets("list", "--json").out)["indexed"]
    assert row["state"] == "missing"
    told = datasets("list").out
    assert f"missing: {indexed}" in told
    assert "clip-adapter train imagefolder:PATH --name photos" in told


def test_the_list_fits_into_eighty_columns(
    datasets: Command, indexed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = datasets("list").out.splitlines()
    drawn = [line for line in lines if line.startswith(("┃", "│"))]
    assert drawn
    assert max(map(len, drawn)) <= 80
    assert str(indexed)[:8] in "".join(lines)


def test_an_option_before_the_command_is_refused(command: Command, root: Path) -> None:
    outcome = command("datasets", "--root", root, "show", "photos")
    assert outcome.code == 2
    assert "write the options after the command" in " ".join(outcome.err.split())


@pytest.mark.usefixtures("indexed")
def test_show_counts_the_images_of_each_class_and_split(datasets: Command) -> None:
    shown = json.loads(datasets("show", "photos", "--json").out)
    assert sum(sum(row.values()) for row in shown["splits"].values()) == shown["images"] == 90
    lines = datasets("show", "photos").out.splitlines()
    assert [line for line in lines if "all classes" in line and "90" in line]


def test_show_counts_unreadable_files_by_reason(
    datasets: Command, extract: Command, photos: Path
) -> None:
    for number in range(2):
        (photos / "red" / f"bad-{number}.jpg").write_bytes(b"")
    assert extract().code == 0
    assert "2 quarantined: the file is empty" in datasets("show", "photos").out


@pytest.mark.parametrize("suffix", ["html", "png"])
@pytest.mark.usefixtures("indexed")
def test_show_writes_a_contact_sheet(datasets: Command, tmp_path: Path, suffix: str) -> None:
    page = tmp_path / f"sheet.{suffix}"
    told = datasets("show", "photos", "--to", page, "--per-class", "2")
    assert (told.code, told.err) == (0, "")
    assert f"6 images of 3 classes, in {page}" in told.out
    assert page.stat().st_size > 1000


@pytest.mark.usefixtures("indexed")
def test_show_refuses_a_page_of_another_kind(datasets: Command, tmp_path: Path) -> None:
    outcome = datasets("show", "photos", "--to", tmp_path / "sheet.txt")
    assert outcome.code == 1
    assert "an .html or a .png file" in outcome.err


def test_check_of_a_folder_stores_nothing_and_ends_with_0(
    command: Command, photos: Path, root: Path
) -> None:
    outcome = command("datasets", "check", f"imagefolder:{photos}", "--root", root)
    assert outcome.code == 0, outcome.out
    assert not root.exists()
    assert "90 images" in outcome.out


def test_check_ends_with_1_for_a_problem_and_says_what_to_do(
    command: Command, photos: Path
) -> None:
    for split in ("train", "test"):
        for class_name in ("red", "blue"):
            shutil.copytree(photos / class_name, photos.parent / "leaky" / split / class_name)
    outcome = command("datasets", "check", f"imagefolder:{photos.parent / 'leaky'}")
    assert outcome.code == 1
    assert "problem: 60 pictures in both train and test" in outcome.out
    assert "do: remove the copy in train or the one in test" in outcome.out


def test_warnings_end_with_1_if_strict(command: Command, photos: Path) -> None:
    (photos / "green").rename(photos / "n01440764")
    ask = ("datasets", "check", f"imagefolder:{photos}")
    assert command(*ask).code == 0
    assert command(*ask, "--strict").code == 1
    found = json.loads(command(*ask, "--json").out)["findings"]
    assert "warning" in {each["severity"] for each in found}


def test_a_file_about_the_dataset_is_no_warning(command: Command, photos: Path) -> None:
    (photos / "dataset.yaml").write_text("licence: CC0\n")
    (photos / "README.md").write_text("Three colours.")
    outcome = command("datasets", "check", f"imagefolder:{photos}", "--json")
    found = [each for each in json.loads(outcome.out)["findings"] if each["kind"] == "left out"]
    assert [(each["severity"], each["message"], each["examples"]) for each in found] == [
        ("note", "1 file left out: not an image", ["README.md"]),
        ("note", "1 file left out: describes the dataset", ["dataset.yaml"]),
    ]


def test_a_dataset_is_checked_under_the_name_it_is_given(command: Command, photos: Path) -> None:
    ask = ("datasets", "check", f"imagefolder:{photos}")
    outcome = command(*ask, "--name", "holiday")
    assert "reading holiday" in outcome.err
    refused = command(*ask, "--name", "Holiday 24")
    assert refused.code == 1
    assert "as 'holiday-24'" in refused.err


def test_check_of_a_stored_dataset_reads_no_image(datasets: Command, indexed: Path) -> None:
    shutil.rmtree(indexed)
    assert datasets("check", "photos").code == 0
    refused = datasets("check", "photos", "--max-pixels", "10")
    assert refused.code == 2


def test_rename_and_forget_are_shown_before_they_are_done(
    datasets: Command, indexed: Path, root: Path
) -> None:
    before = files_below(root)
    assert "nothing was changed" in datasets("rename", "photos", "colours", "--dry-run").out
    assert "nothing was removed: add --yes" in datasets("forget", "photos").out
    assert files_below(root) == before
    assert indexed.is_dir()


def test_a_renamed_dataset_is_listed_and_extracted_under_its_new_name(
    datasets: Command, extract: Command, indexed: Path
) -> None:
    told = datasets("rename", "photos", "colours")
    assert (told.code, told.err) == (0, "")
    assert "photos is called colours now" in told.out
    (row,) = json.loads(datasets("--json").out)["indexed"]
    assert (row["dataset"], row["source"]) == ("colours", str(indexed))
    again = json.loads(extract("--json").out)
    assert (again["encoded"], again["dataset"]) == (0, "colours")


def test_a_forgotten_dataset_is_no_longer_listed_and_its_images_stay(
    datasets: Command, indexed: Path
) -> None:
    done = json.loads(datasets("forget", "photos", "--yes", "--json").out)
    removed = {row["kind"]: row["rows"] for row in done["removed"]}
    assert (removed["image-features"], removed["dataset-index"]) == (90, 90)
    assert json.loads(datasets("--json").out)["indexed"] == []
    with Image.open(indexed / "red" / "000.jpg") as image:
        assert image.size
