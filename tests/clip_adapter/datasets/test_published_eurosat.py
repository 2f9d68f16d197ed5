"""EuroSAT as it is published: its order and counts, and the images of published few-shot choices."""

import json
import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from clip_adapter.datasets import (
    DatasetIndex,
    build_index,
    describe,
    open_described,
    read_few_shot_indices,
)

pytestmark = pytest.mark.shared_data
N_UNPACKED = 60
"""Number of images of each class that are unpacked beside those that the few-shot choices name."""


@pytest.fixture(name="shared", scope="module")
def _shared() -> Path:
    folder = Path(os.environ.get("CLIP_ADAPTER_TEST_DATA", ""))
    for name in ("EuroSAT.zip", "splits", "few-shot-indices/eurosat"):
        if "CLIP_ADAPTER_TEST_DATA" not in os.environ or not (folder / name).exists():
            pytest.skip(f"CLIP_ADAPTER_TEST_DATA names no folder with {name}")
    return folder


def choice(shared: Path, shots: int, seed: int) -> dict[str, list[str]]:
    file = shared / "few-shot-indices" / "eurosat" / f"shot_{shots}-seed_{seed}.json"
    told = json.loads(file.read_text())
    return {
        part: [
            str(PurePosixPath(*PurePosixPath(each["impath"]).parts[-2:])) for each in items["data"]
        ]
        for part, items in told.items()
        if part in {"train", "val"}
    }


@pytest.fixture(name="index", scope="module")
def _index(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """The index of EuroSAT without most of its images, which only take time."""
    folder = tmp_path_factory.mktemp("eurosat")
    shutil.copy(shared / "splits" / "split_zhou_EuroSAT.json", folder)
    named = {
        path for shots in (1, 16) for part in choice(shared, shots, 1).values() for path in part
    }
    with zipfile.ZipFile(shared / "EuroSAT.zip") as archive:
        images = [name for name in archive.namelist() if name.endswith(".jpg")]
        for name in images:
            path = "/".join(PurePosixPath(name).parts[-2:])
            number = int(path.rpartition("_")[2].removesuffix(".jpg"))
            if path in named or number <= N_UNPACKED:
                archive.extract(name, folder)
    assert len(images) == 27_000
    source = open_described(describe("eurosat"), folder)
    assert source.notes == ()
    return build_index(source, max_bad_fraction=1.0)


def test_the_archive_has_every_image_of_the_published_split(shared: Path) -> None:
    with zipfile.ZipFile(shared / "EuroSAT.zip") as archive:
        images = {"/".join(PurePosixPath(name).parts[-2:]) for name in archive.namelist()}
    document = json.loads((shared / "splits" / "split_zhou_EuroSAT.json").read_text())
    assert {len(document[split]) for split in document} == {13_500, 5400, 8100}
    assert {path for part in document.values() for path, _, _ in part} <= images


def test_the_images_have_the_published_labels_and_splits(shared: Path, index: DatasetIndex) -> None:
    document = json.loads((shared / "splits" / "split_zhou_EuroSAT.json").read_text())
    published = {
        path: (label, name, split) for split, rows in document.items() for path, label, name in rows
    }
    names = index.source.class_names
    assert len(index) >= 10 * N_UNPACKED
    for path, label, split in zip(index.paths, index.labels, index.splits, strict=True):
        assert (int(label), names[label], split) == published[path]


@pytest.mark.parametrize("shots", [1, 16])
def test_a_published_few_shot_choice_is_its_images(
    shared: Path, index: DatasetIndex, shots: int
) -> None:
    folder = shared / "few-shot-indices" / "eurosat"
    found = read_few_shot_indices(folder, index, shots=shots, seed=1)
    published = choice(shared, shots, 1)
    assert [index.paths[row] for row in found.train_rows] == published["train"]
    assert [index.paths[row] for row in found.val_rows] == published["val"]
    assert len(found.train_rows) == 10 * shots
