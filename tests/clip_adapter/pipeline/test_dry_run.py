"""What would be trained is told from a split file alone, the same on every machine."""

import hashlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from steps import index_dataset

from clip_adapter.datasets import describe
from clip_adapter.errors import UnknownNameError
from clip_adapter.pipeline.dry_run import DryRun, dry_run
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.requests import TrainRequest

PETS = describe("oxford-pets").class_names
GOLDEN = "3d5e1b8dfaf4fc779cabdf1154eaeb5e73a01083df11b94f05d8d9f10cedbccb"
"""Digest of the two images a class that seed 7 draws from the split file of these tests."""

N_IMAGES = 12
"""Number of images of each class in each split."""


class Silent(Reporter):
    def log(self, message: str) -> None:
        """Write nothing."""


def told(**parameters: object) -> DryRun:
    return dry_run(TrainRequest.of(**parameters), reporter=Silent())


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> Path:
    """A folder of datasets that holds a split file of pets, and no image."""
    rows = {
        split: [
            [f"{name.replace(' ', '_')}_{split}_{number}.jpg", label, name.replace(" ", "_")]
            for label, name in enumerate(PETS)
            for number in range(N_IMAGES)
        ]
        for split in ("train", "val", "test")
    }
    folder = tmp_path / "data" / "oxford_pets"
    folder.mkdir(parents=True)
    (folder / "split_zhou_OxfordPets.json").write_text(json.dumps(rows))
    return folder.parent


def test_a_split_file_alone_is_enough_to_draw(data: Path, root: Path) -> None:
    found = told(dataset="oxford_pets", data=data, root=root, shots=[1, 4], seeds=[1, 2])
    assert (found.dataset, found.state) == ("oxford-pets", "split file alone")
    assert found.next_step == "clip-adapter datasets fetch oxford-pets"
    assert (found.ranked_by, found.problem) == ("path", "")
    assert [(each.shots, each.seed) for each in found.draws] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for draw in found.draws:
        of_class = Counter(path.partition("_train_")[0] for path in draw.train)
        assert of_class == {name.replace(" ", "_"): draw.shots for name in PETS}
        assert len(draw.val) == draw.shots * len(PETS)
        assert all("_val_" in path for path in draw.val)
    assert set(found.draws[0].train) <= set(found.draws[2].train)
    assert not root.exists()


def test_the_draws_are_the_same_on_every_machine(data: Path, root: Path) -> None:
    (draw,) = told(dataset="oxford_pets", data=data, root=root, shots=[2], seeds=[7]).draws
    assert draw.digest == GOLDEN


def test_runs_are_counted_as_they_would_be_trained(data: Path, root: Path) -> None:
    found = told(dataset="oxford_pets", data=data, root=root, shots=[1, 2], seeds=[1, 2, 3])
    assert found.methods == ("zero-shot", "linear-probe", "clip-adapter")
    assert found.n_runs == 1 + 2 * 2 * 3


def test_a_class_with_too_few_images_is_told(data: Path, root: Path) -> None:
    found = told(dataset="oxford_pets", data=data, root=root, shots=[16])
    assert (found.draws, found.ranked_by) == ((), None)
    assert "class 'abyssinian' has too few images for 16 shots" in found.problem


def test_a_dataset_that_is_not_there_says_what_to_do(tmp_path: Path, root: Path) -> None:
    found = told(dataset="dtd", data=tmp_path, root=root)
    assert (found.state, found.next_step) == ("missing", "clip-adapter datasets fetch dtd")
    assert "DTD was not found" in found.problem


def test_a_name_that_is_not_known_is_an_error(tmp_path: Path, root: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'eurosat'"):
        told(dataset="eurosta", data=tmp_path, root=root)


def test_an_indexed_dataset_is_drawn_by_content_as_it_is_trained(photos: Path, root: Path) -> None:
    index_dataset(f"imagefolder:{photos}", root=root, data=root)
    found = told(dataset=f"imagefolder:{photos}", root=root, shots=[2], seeds=[1])
    assert found.ranked_by == "content"
    assert len(found.draws[0].train) == 6


def test_a_folder_that_was_never_indexed_is_divided_by_content_and_not_drawn(
    photos: Path, root: Path
) -> None:
    found = told(dataset=f"imagefolder:{photos}", root=root)
    assert "follows from their contents" in found.problem
    assert not root.exists()


def test_a_target_for_tests_alone_trains_nothing(tmp_path: Path, root: Path) -> None:
    described = describe("imagenet-v2")
    for folder, _ in described.classes:
        place = tmp_path / "imagenetv2" / described.images[0] / folder
        place.mkdir(parents=True)
        (place / "1.jpeg").touch()
    found = told(dataset="imagenet-v2", data=tmp_path, root=root)
    assert "all images of 'imagenet-v2' are test images" in found.problem


PUBLISHED = {
    "caltech-101": "5d44968f78869959",
    "dtd": "0d649f619ab597ac",
    "eurosat": "0e90b5805984028d",
    "oxford-flowers": "9d230ece0d0e03bd",
    "oxford-pets": "4c896098d034fd30",
    "stanford-cars": "8510b52ec2c94a27",
    "ucf101": "63548e93687c0908",
}
"""Digest of the draws at 1, 2, 4 and 8 shots and seeds 1 to 3 from each published split file."""


@pytest.mark.shared_data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_split_files_are_drawn_from_without_images(
    name: str, tmp_path: Path, root: Path
) -> None:
    described = describe(name)
    folder = os.environ.get("CLIP_ADAPTER_TEST_DATA")
    published = Path(folder or "", "splits", described.split_file or "")
    if folder is None or not published.is_file():
        pytest.skip(f"CLIP_ADAPTER_TEST_DATA names no folder with splits/{described.split_file}")
    (tmp_path / described.folders[0]).mkdir()
    (tmp_path / described.folders[0] / published.name).symlink_to(published)
    found = told(dataset=name, data=tmp_path, root=root, shots=[1, 2, 4, 8], seeds=[1, 2, 3])
    assert found.problem == ""
    assert [len(draw.train) for draw in found.draws] == [
        shots * described.n_classes for shots in (1, 2, 4, 8) for _ in range(3)
    ]
    digests = "".join(draw.digest for draw in found.draws)
    assert hashlib.sha256(digests.encode()).hexdigest()[:16] == PUBLISHED[name]


def test_a_budget_and_half_of_the_classes_are_drawn_as_training_draws_them(
    data: Path, root: Path
) -> None:
    place = {"dataset": "oxford_pets", "data": data, "root": root, "seeds": [1, 2]}
    found = told(**place, budget=50, methods=["zero-shot", "tip-adapter"])
    assert [(len(draw.train), len(draw.val)) for draw in found.draws] == [(50, 0)] * 2
    assert found.n_runs == 3
    base = told(**place, shots=[1], protocol="base-to-new", methods=["tip-adapter"])
    assert [len(draw.train) for draw in base.draws] == [(len(PETS) + 1) // 2] * 2


def test_runs_on_other_datasets_are_counted_where_a_classifier_can_be_tested(
    data: Path, root: Path, photos: Path
) -> None:
    """A linear probe knows no class by its name, and is tested on a domain shift alone."""
    shift = photos.parent / "drawn"
    for name in PETS[:2]:
        for number in range(3):
            place = shift / name / f"{number}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(next(photos.rglob("*.jpg")), place)
    asked = {"dataset": "oxford_pets", "data": data, "root": root, "shots": [1, 2], "seeds": [1]}
    methods = ["zero-shot", "linear-probe", "tip-adapter"]
    found = told(
        **asked, methods=methods, test_on=[f"imagefolder:{shift}", f"imagefolder:{photos}"]
    )
    assert found.problem == ""
    assert found.n_runs == 1 * 3 + 2 * 2 + 2 * 3


def test_methods_that_a_budget_leaves_out_are_not_counted(data: Path, root: Path) -> None:
    asked = {"dataset": "oxford_pets", "data": data, "root": root, "seeds": [1, 2]}
    found = told(**asked, budget=20, methods=["zero-shot", "gda", "tip-adapter"])
    assert (found.methods, found.n_runs) == (("zero-shot", "tip-adapter"), 3)
    alone = told(**asked, budget=20, methods=["gda"])
    assert "nothing is left to train without gda" in alone.problem
