"""Files that the index leaves out: what is no image, and pictures with two labels."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import DatasetError, DatasetIndex, build_index
from clip_adapter.datasets.imagefolder import open_imagefolder
from clip_adapter.images import ContainerReader, reading

Put = Callable[[Path, int], Path]


@pytest.fixture(name="pets")
def _pets(tmp_path: Path, put: Put) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for number in range(4):
            put(tmp_path / name / f"{number}.png", 10 * label + number)
    return tmp_path


def reasons(index: DatasetIndex) -> dict[str, str]:
    return {file.path: file.reason for file in index.excluded}


def test_an_image_is_used_by_its_content_whatever_its_name(pets: Path) -> None:
    for number, name in enumerate(("0.jfif", "1.jpe", "2", "3.backup")):
        (pets / "cat" / f"{number}.png").rename(pets / "cat" / name)

    index = build_index(open_imagefolder(pets))

    assert len(index) == 8
    assert index.excluded == index.quarantined == ()


def test_what_is_no_image_is_counted_and_not_read(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    class Recorded(ContainerReader):
        def read(self, path: str) -> bytes:
            read.append(path)
            return super().read(path)

    for name in ("Thumbs.db", "desktop.ini", "labels.csv", "empty"):
        (pets / "cat" / name).write_bytes(b"" if name == "empty" else b"no image")
    monkeypatch.setattr("clip_adapter.datasets.index.open_images", Recorded)

    index = build_index(open_imagefolder(pets), max_bad_fraction=0)

    assert set(reasons(index).values()) == {"not an image"}
    assert len(index.excluded) == 4
    assert set(read) == set(index.paths)


def test_a_file_that_is_an_image_by_name_or_by_first_bytes_is_quarantined(pets: Path) -> None:
    whole = (pets / "cat" / "0.png").read_bytes()
    (pets / "cat" / "broken").write_bytes(whole[:40])
    (pets / "cat" / "page.jpg").write_bytes(b"<html>")
    (pets / "cat" / "new.jxl").write_bytes(b"\xff\x0a")

    index = build_index(open_imagefolder(pets), max_bad_fraction=0.5)

    assert [file.path for file in index.quarantined] == [
        "cat/broken",
        "cat/new.jxl",
        "cat/page.jpg",
    ]
    assert index.excluded == ()


def test_a_file_above_the_size_limit_that_is_no_image_is_excluded(
    pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 10_000)
    (pets / "cat" / "video.mp4").write_bytes(bytes(10_001))

    assert reasons(build_index(open_imagefolder(pets))) == {"cat/video.mp4": "not an image"}


def test_excluded_files_do_not_dilute_the_unreadable(pets: Path) -> None:
    (pets / "cat" / "0.png").write_bytes(b"")
    for number in range(100):
        (pets / "cat" / f"{number}.txt").write_bytes(b"")

    with pytest.raises(DatasetError, match="1 of the 8 files"):
        build_index(open_imagefolder(pets))


def test_a_picture_in_two_classes_is_left_out_with_all_its_copies(pets: Path) -> None:
    for name in ("0.png", "1.png"):
        shutil.copy(pets / "cat" / name, pets / "dog" / f"copy-{name}")
    shutil.copy(pets / "cat" / "0.png", pets / "cat" / "again.png")

    index = build_index(open_imagefolder(pets))

    left_out = {"cat/0.png", "cat/1.png", "cat/again.png", "dog/copy-0.png", "dog/copy-1.png"}
    assert reasons(index) == dict.fromkeys(left_out, "two labels")
    assert len(index) == 6
    assert "2 images of" in index.source.notes[0]
    assert "cat/0.png = dog/copy-0.png; cat/1.png = dog/copy-1.png" in index.source.notes[0]


def test_copies_in_one_class_stay(pets: Path) -> None:
    shutil.copy(pets / "cat" / "0.png", pets / "cat" / "again.png")

    index = build_index(open_imagefolder(pets))

    assert len(index) == 9
    assert index.excluded == index.source.notes == ()


def test_a_class_that_loses_all_its_pictures_is_named(pets: Path) -> None:
    shutil.copytree(pets / "cat", pets / "kitten")

    with pytest.raises(
        DatasetError, match=r"no image of class 'cat' .*used: two labels \(4\), as cat/0.png"
    ):
        build_index(open_imagefolder(pets))


def test_the_files_that_are_excluded_do_not_change_the_fingerprint(pets: Path) -> None:
    before = build_index(open_imagefolder(pets)).fingerprint
    (pets / "cat" / "notes.txt").write_bytes(b"")

    assert build_index(open_imagefolder(pets)).fingerprint == before
