import errno
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clip_adapter.datasets import DatasetError, build_index
from clip_adapter.datasets.digits import open_digits
from clip_adapter.images import decode_image, read_bytes


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "digits"
    open_digits(folder)
    return folder


def test_1797_pictures_are_split_in_the_order_of_the_writers(folder: Path) -> None:
    source = open_digits(folder)

    assert Counter(file.split for file in source.files) == {"train": 719, "val": 179, "test": 899}
    assert [file.split for file in source.files] == ["train"] * 719 + ["val"] * 179 + ["test"] * 899
    assert source.class_names[:3] == ("zero", "one", "two")
    assert [file.path for file in source.files[:2]] == ["zero/0000.png", "one/0001.png"]


def test_a_picture_is_bright_ink_on_black_of_8_by_8_pixels(folder: Path) -> None:
    pixels = np.asarray(decode_image(read_bytes(folder, "zero/0000.png")))

    # The first row of scikit-learn's first digit is 0 0 5 13 9 1 0 0, of 16.
    assert pixels[0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert pixels.shape == (8, 8, 3)


def test_opening_again_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    open_digits(folder)

    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_damaged_picture_is_written_again(folder: Path) -> None:
    damaged = folder / "zero" / "0000.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:20])

    open_digits(folder)

    assert damaged.read_bytes() == whole
    assert not list(folder.rglob(".*"))


def test_every_machine_writes_the_same_bytes(folder: Path) -> None:
    # Golden: another value would make every digit another image, and all runs incomparable.
    assert build_index(open_digits(folder)).fingerprint == (
        "9bdebb358adcdbfba4613a4979e06f59b2303f0574782a5186f65d1978e0988b"
    )


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "digits").write_bytes(b"a file is in the way")

    with pytest.raises(DatasetError, match=r"cannot be written to .*: choose another folder"):
        open_digits(tmp_path / "digits")


def test_a_full_disk_leaves_no_part_of_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_up(path: Path, _: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    with pytest.raises(DatasetError, match=r"No space left on device\. .* or make room there"):
        open_digits(tmp_path / "digits")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
