"""A dataset that others are tested on changes: its board shows one state of it."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from clip_adapter import train
from clip_adapter.pipeline.dataset_rewrite import forget_dataset, rename_dataset
from clip_adapter.runs import query


def _draw(folder: Path, names: str, n: int, *, start: int = 0) -> None:
    for name in names:
        for number in range(start, start + n):
            picture = Image.new("RGB", (32, 32), (200, 255 - number, 180 + number))
            ImageDraw.Draw(picture).text(
                (6 + number % 12, 4 + number % 9), name, fill=(9, 9, number)
            )
            path = folder / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)


@pytest.fixture(name="asked")
def _asked(tmp_path: Path, root: Path) -> dict[str, Any]:
    """A source of three classes, and a target with the same classes."""
    _draw(tmp_path / "source", "ABC", 24)
    _draw(tmp_path / "target", "ABC", 20, start=100)
    return {
        "dataset": f"imagefolder:{tmp_path / 'source'}",
        "test_on": [f"imagefolder:{tmp_path / 'target'}"],
        "model": "glyphs",
        "root": root,
        "shots": [2],
    }


def _n_tested(root: Path) -> set[int]:
    rows = query(root, "SELECT DISTINCT n_test FROM shift JOIN runs USING (run_id)").to_pylist()
    return {row["n_test"] for row in rows}


def test_methods_are_not_compared_on_two_states_of_a_target(
    asked: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    train(**asked, methods=["zero-shot", "tip-adapter"], seeds=[1])
    _draw(tmp_path / "target", "ABC", 20, start=140)
    train(**asked, methods=["tip-adapter"], seeds=[1])
    assert len(_n_tested(root)) == 1


def test_a_mean_is_not_over_seeds_of_two_states_of_a_target(
    asked: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    train(**asked, methods=["tip-adapter"], seeds=[1])
    _draw(tmp_path / "target", "ABC", 20, start=140)
    train(**asked, methods=["tip-adapter"], seeds=[2])
    assert query(root, "SELECT seeds FROM shift_means").to_pylist() == [{"seeds": 1}]


def test_a_target_is_a_domain_shift_or_cross_dataset_and_not_both(
    asked: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    train(**asked, methods=["tip-adapter"], seeds=[1])
    (tmp_path / "target/A").rename(tmp_path / "target/Z")
    train(**asked, methods=["tip-adapter"], seeds=[1])
    rows = query(root, "SELECT protocol FROM shift_means").to_pylist()
    assert rows == [{"protocol": "cross-dataset"}]


def test_test_images_that_chose_settings_are_counted_as_leaked_and_reported(
    asked: dict[str, Any], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val", "test"):
        _draw(
            tmp_path / "split" / split, "ABC", 8, start={"train": 0, "val": 20, "test": 40}[split]
        )
    _draw(tmp_path / "copies/train", "ABC", 8, start=60)
    _draw(tmp_path / "copies/test", "ABC", 8, start=20)
    source, target = (f"imagefolder:{tmp_path / name}" for name in ("split", "copies"))
    train(**{**asked, "dataset": source, "test_on": [target]}, methods=["tip-adapter"], seeds=[1])
    rows = query(root, "SELECT n_leaked FROM shift JOIN runs USING (run_id)").to_pylist()
    assert [row["n_leaked"] > 0 for row in rows] == [True]
    said = f"leak: {rows[0]['n_leaked']} test images of copies are among the images that train"
    assert said in capsys.readouterr().err


def test_a_target_under_a_former_name_has_numbers(asked: dict[str, Any], root: Path) -> None:
    train(**asked, methods=["tip-adapter"], seeds=[1])
    rename_dataset(root, "target", "other")
    forget_dataset(root, "other", dry_run=False)
    train(**asked, methods=["tip-adapter"], seeds=[1])
    assert {"target": "target"} in query(root, "SELECT target FROM shift").to_pylist()
