"""Real CLIP features as others save them, where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from feature_cache.exchange import InvalidImportError, read_npz

FOLDER = "CLIP_ADAPTER_TEST_DATA"
FEW_SHOT = {"features": "shots_16_features", "labels": "shots_16_labels", "text_features": None}


def archive(name: str) -> Path:
    folder = os.environ.get(FOLDER)
    if folder is None:
        pytest.skip(f"{FOLDER} names no folder with clip-vit-b-32/{name}.npz")
    path = Path(folder) / "clip-vit-b-32" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "n_classes"), [("caltech101", 100), ("oxford_flowers", 102), ("ucf101", 101)]
)
def test_sixteen_shots_a_class_are_read_by_the_names_they_have(name: str, n_classes: int) -> None:
    found = read_npz(archive(name), names=FEW_SHOT)
    assert (len(found), found.dim, found.features.dtype) == (16 * n_classes, 512, np.float16)
    assert np.bincount(found.labels).tolist() == [16] * n_classes
    assert (found.source, len(found.class_names)) == (name, n_classes)


@pytest.mark.shared_data
def test_few_shot_and_validation_arrays_are_read_as_two_splits() -> None:
    found = read_npz(archive("ucf101"), names={"train": "shots_16_"})
    assert (found.splits or ()).count("train") == 1616
    assert (found.splits or ()).count("val") == 1898


@pytest.mark.shared_data
def test_text_features_of_some_classes_are_refused_unless_left_out() -> None:
    with pytest.raises(InvalidImportError, match=r"shape \[38, 512\], expected \[100, 512\]"):
        read_npz(
            archive("caltech101"),
            names={"features": "shots_1_features", "labels": "shots_1_labels"},
        )
