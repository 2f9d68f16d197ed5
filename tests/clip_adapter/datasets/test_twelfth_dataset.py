"""A dataset more is the YAML that CONTRIBUTING.md shows, and nothing else."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_adapter.datasets import (
    DATASETS,
    DatasetError,
    check_free_name,
    describe,
    description_of,
    descriptions,
    known_names,
    open_dataset,
    templates_of,
)

Put = Callable[[Path, int], Path]
CONTRIBUTING = Path(__file__).parents[3] / "CONTRIBUTING.md"
CLASSES = ("buildings", "forest", "glacier", "mountain", "sea", "street")


@pytest.fixture(name="shown")
def _shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The YAML of the document, put where it says."""
    (text,) = re.findall(r"```yaml\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL)
    shutil.copytree(descriptions.FOLDER, tmp_path / "known")
    (tmp_path / "known" / "intel-scenes.yaml").write_text(text)
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path / "known")
    return str(text)


def test_it_has_ten_lines(shown: str) -> None:
    assert len(shown.splitlines()) == 10


@pytest.mark.usefixtures("shown")
def test_it_is_known_like_the_others() -> None:
    assert "intel-scenes" in known_names()
    assert DATASETS["intel-scenes"] == "Intel scenes: photos of 6 kinds of scenes"
    assert description_of("intel-scenes") == DATASETS["intel-scenes"]
    assert templates_of("intel-scenes") == ("a photo of a {}.",)
    with pytest.raises(DatasetError, match="choose another name"):
        check_free_name("intel-scenes")


@pytest.mark.usefixtures("shown")
def test_it_is_opened_in_its_layout(tmp_path: Path, put: Put) -> None:
    folder = tmp_path / "data" / "intel-scenes"
    for number, (split, class_name) in enumerate(
        (split, each) for split in ("train", "test") for each in CLASSES
    ):
        put(folder / f"seg_{split}" / f"seg_{split}" / class_name / "1.jpg", number)

    source = open_dataset("intel_scenes", data=tmp_path / "data")

    assert (source.name, source.folder) == ("intel-scenes", folder)
    assert source.class_names == CLASSES
    assert {(file.path, file.split) for file in source.files} == {
        (f"seg_{split}/seg_{split}/{each}/1.jpg", split)
        for split in ("train", "test")
        for each in CLASSES
    }
    (note,) = source.notes
    assert "14,034 train, 3,000 test images as published, and 6 train, 6 test here" in note


@pytest.mark.usefixtures("shown")
def test_it_says_how_it_is_got(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"puneet6060.*`clip-adapter datasets fetch intel-scenes`"
    ):
        open_dataset("intel-scenes", data=tmp_path)
    assert describe("intel-scenes").steps[0].endswith("unpack it in {folder}.")
