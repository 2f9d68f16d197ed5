"""What is known of the datasets of a store, and how they look."""

import shutil
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from steps import index_dataset

from clip_adapter.datasets import describe
from clip_adapter.pipeline import datasets
from clip_adapter.pipeline.datasets import (
    contact_sheet,
    known_datasets,
    read_dataset,
    stored_datasets,
)
from clip_adapter.report.contact_sheet import write_contact_sheet

PutPhotos = Callable[..., Path]


def index(folder: Path, root: Path) -> None:
    index_dataset(f"imagefolder:{folder}", root=root, data=root, max_bad_fraction=0.5)


def test_a_stored_dataset_has_its_counts_and_its_folder(root: Path, photos: Path) -> None:
    (photos / "red" / "bad.jpg").write_bytes(b"")
    index(photos, root)
    (found,) = stored_datasets(root, data=root)
    assert (found.name, found.state, found.source) == ("photos", "present", str(photos))
    assert (found.n_classes, len(found.index), found.next_step) == (3, 90, "")
    assert [file.path for file in found.index.quarantined] == ["red/bad.jpg"]
    assert {name: sum(row.values()) for name, row in found.counts().items()} == {
        "blue": 30,
        "green": 30,
        "red": 30,
    }
    assert found.index.fingerprint == found.index_fingerprint


def test_a_folder_that_was_moved_is_missing_with_the_command_that_finds_it(
    root: Path, photos: Path
) -> None:
    index(photos, root)
    photos.rename(photos.parent / "elsewhere")
    found = read_dataset(root, "photos", data=root)
    assert (found.state, found.source) == ("missing", str(photos))
    assert "clip-adapter train imagefolder:PATH --name photos" in found.next_step


def test_of_two_folders_of_a_dataset_the_one_that_exists_is_shown(root: Path, photos: Path) -> None:
    index(photos, root)
    moved = photos.parent / "moved" / "photos"
    moved.parent.mkdir()
    shutil.move(photos, moved)
    index(moved, root)
    found = read_dataset(root, f"imagefolder:{moved}", data=root)
    assert (found.name, found.state, found.source) == ("photos", "present", str(moved))


def test_a_known_dataset_says_where_to_get_it_until_it_is_there(tmp_path: Path) -> None:
    missing = {each.name: each for each in known_datasets(tmp_path)}["eurosat"]
    assert missing.is_present is False
    assert (missing.state, missing.next_step) == (
        "missing",
        "clip-adapter datasets fetch eurosat",
    )
    for class_folder, _ in describe("eurosat").classes:
        (tmp_path / "eurosat" / class_folder).mkdir(parents=True)
    there = {each.name: each for each in known_datasets(tmp_path)}["eurosat"]
    assert (there.is_present, there.state) == (True, "images, no split file")
    assert there.next_step.startswith("clip-adapter train eurosat; for published splits first")


def test_a_contact_sheet_shows_a_few_images_of_every_class(root: Path, photos: Path) -> None:
    index(photos, root)
    sheet = contact_sheet(read_dataset(root, "photos", data=root), per_class=4)
    assert [row.class_name for row in sheet.rows] == ["blue", "green", "red"]
    assert [[each.path for each in row.thumbnails] for row in sheet.rows][2] == [
        f"red/{number:03d}.jpg" for number in (0, 10, 19, 29)
    ]
    assert (sheet.n_shown, sheet.n_gaps) == (12, 0)


def test_images_that_changed_or_are_gone_are_gaps(root: Path, photos: Path) -> None:
    index(photos, root)
    Image.new("RGB", (8, 8)).save(photos / "red" / "000.jpg")
    (photos / "red" / "029.jpg").unlink()
    (photos / "blue" / "000.jpg").unlink()
    (photos / "blue" / "000.jpg").symlink_to("/etc/hostname")
    sheet = contact_sheet(read_dataset(root, "photos", data=root), per_class=4)
    gaps = {each.path: each.gap for row in sheet.rows for each in row.thumbnails if each.gap}
    assert gaps["red/000.jpg"] == "changed since it was indexed"
    assert set(gaps) == {"red/000.jpg", "red/029.jpg", "blue/000.jpg"}
    assert "leads out of the folder" in gaps["blue/000.jpg"]
    assert "images gone, changed or unreadable: 3" in sheet.caption


def test_a_contact_sheet_has_a_bounded_number_of_images(
    root: Path, tmp_path: Path, put_photos: PutPhotos, monkeypatch: object
) -> None:
    for number in range(5):
        put_photos(
            tmp_path / "many", f"class-{number}", range(20 * number, 20 * number + 20), colour="red"
        )
    index(tmp_path / "many", root)
    monkeypatch.setattr(datasets, "MOST_THUMBNAILS", 4)  # type: ignore[attr-defined]  # of pytest
    sheet = contact_sheet(read_dataset(root, "many", data=root))
    assert (sheet.n_shown, len(sheet.rows), sheet.n_more_classes) == (4, 4, 1)
    assert "classes not shown: 1" in sheet.caption


def test_a_contact_sheet_is_written_as_one_page_or_one_image(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    index(photos, root)
    sheet = contact_sheet(read_dataset(root, "photos", data=root), per_class=2)
    write_contact_sheet(sheet, tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert page.count('src="data:image/png;base64,') == 6
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")
    write_contact_sheet(sheet, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.height > 3 * 96
