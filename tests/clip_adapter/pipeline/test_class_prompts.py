"""Names of classes in an indexed dataset, and prompts of single classes."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import encode_dataset, index_dataset, plan, train_methods

from clip_adapter.datasets import FolderOptions, open_dataset
from clip_adapter.methods import class_prototypes
from clip_adapter.pipeline import index as index_module
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.index import IndexedDataset
from clip_adapter.runs import connect, query, read_runs
from feature_cache import FeatureStore

PROBE: dict[str, Any] = {"methods": ["zero-shot"], "shots": [1], "seeds": [1]}
UNEVEN = "blue: {prompts: [the sea at noon., blue paint.]}\n"
EVEN = "blue: {prompts: [the sea.]}\ngreen: {prompts: ['all of {}.']}\n"
Index = Callable[..., IndexedDataset]


@pytest.fixture(name="land")
def _land(photos: Path) -> Path:
    """The ninety photos, two classes of which rules name."""
    shutil.move(photos / "red", photos / "AnnualCrop")
    shutil.move(photos / "green", photos / "n01440764")
    return photos


@pytest.fixture(name="index")
def _index(root: Path) -> Index:
    def index(folder: Path, *, class_names: Path | None = None, **asked: Any) -> IndexedDataset:
        options = FolderOptions(class_names=class_names)
        return index_dataset(
            f"imagefolder:{folder}", root=root, data=root, options=options, **asked
        )

    return index


@pytest.fixture(name="index_as_before")
def _index_as_before(index: Index, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Index with the names that earlier versions gave."""

    def run(folder: Path) -> IndexedDataset:
        def opened(*arguments: Any, **named: Any) -> Any:
            source = open_dataset(*arguments, **named)
            names = tuple(each.replace("_", " ") for each in source.class_folders if each)
            return index_module.replace(source, class_names=names)

        with monkeypatch.context() as patch:
            patch.setattr(index_module, "open_dataset", opened)
            return index(folder)

    return run


@pytest.fixture(name="encode")
def _encode(
    index: Index, photos: Path, tiny_model: str, tmp_path: Path
) -> Callable[..., EncodedDataset]:
    """Encode the ninety photos with a file of class names."""

    def encode(text: str) -> EncodedDataset:
        (tmp_path / "names.yaml").write_text(text, encoding="utf-8")
        dataset = index(photos, class_names=tmp_path / "names.yaml")
        return encode_dataset(dataset, Encoding(model=tiny_model))

    return encode


def test_cleaned_names_are_shown_and_prompted(
    index: Index, land: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = index(land)
    assert dataset.class_names == ("Annual Crop", "blue", "tench")
    assert "a photo of a tench." in dataset.prompts
    assert "AnnualCrop is 'Annual Crop', n01440764 is 'tench'" in capsys.readouterr().err


def test_a_dataset_of_before_keeps_its_names_and_its_state(
    index: Index, index_as_before: Index, land: Path
) -> None:
    before = index_as_before(land)
    assert before.class_names == ("AnnualCrop", "blue", "n01440764")
    assert index(land).index_fingerprint == before.index_fingerprint


def test_a_new_class_of_a_dataset_of_before_is_named_by_the_rules(
    index: Index, index_as_before: Index, land: Path, put_photos: Callable[..., Path]
) -> None:
    index_as_before(land)
    put_photos(land, "SeaLake", range(40, 50), colour="blue")
    assert index(land).class_names == ("AnnualCrop", "Sea Lake", "blue", "n01440764")


def test_a_file_taken_away_leaves_the_names_to_the_rules(index: Index, land: Path) -> None:
    (land / "dataset.yaml").write_text("class_names: {AnnualCrop: fields}", encoding="utf-8")
    assert index(land).class_names == ("fields", "blue", "tench")
    (land / "dataset.yaml").unlink()
    assert index(land).class_names == ("Annual Crop", "blue", "tench")


def test_a_class_with_prompts_uses_them_in_place_of_the_templates(
    index: Index, photos: Path
) -> None:
    (photos / "dataset.yaml").write_text(
        "class_names:\n  blue: {name: navy, prompts: [the sea., 'a {} wall.']}\n"
        "templates: ['one {}.']\n",
        encoding="utf-8",
    )
    dataset = index(photos)
    assert dataset.prompts_by_class == [["the sea.", "a navy wall."], ["one green."], ["one red."]]
    assert dataset.prompts == ["the sea.", "a navy wall.", "one green.", "one red."]
    assert index(photos, templates=["a {}."]).prompts == ["a navy.", "a green.", "a red."]
    assert dataset.prompted(("a {}.",)).prompts == ["a navy.", "a green.", "a red."]


def test_templates_of_a_request_leave_the_prompts_of_its_file(
    index: Index, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "names.csv").write_text("blue,navy,the sea.\n", encoding="utf-8")
    dataset = index(photos, class_names=tmp_path / "names.csv", templates=["a {}."])
    assert dataset.prompts == ["the sea.", "a green.", "a red."]


def test_equally_many_prompts_a_class_are_features_of_their_own(
    encode: Callable[..., EncodedDataset],
) -> None:
    encoded = encode(EVEN)
    features = DatasetFeatures(encoded).prompt_features
    stored = FeatureStore(encoded.dataset.root, encoded.encoder)
    prompts = ["the sea.", "all of green.", "a photo of a red."]
    np.testing.assert_array_equal(features[:, 0], stored.read_prompts(prompts))


def test_unequally_many_prompts_are_one_ensemble_a_class(
    encode: Callable[..., EncodedDataset],
) -> None:
    encoded = encode(UNEVEN)
    features = DatasetFeatures(encoded).prompt_features
    stored = FeatureStore(encoded.dataset.root, encoded.encoder)
    own = stored.read_prompts(["the sea at noon.", "blue paint."])
    other = stored.read_prompts(["a photo of a red."])
    assert features.shape[:2] == (3, 1)
    np.testing.assert_array_equal(features[0], class_prototypes(own[np.newaxis]))
    np.testing.assert_array_equal(features[2], class_prototypes(other[np.newaxis]))


def test_prompts_of_a_class_make_another_run_that_names_them(
    encode: Callable[..., EncodedDataset], root: Path
) -> None:
    without, uneven = encode("blue: blue\n"), encode(UNEVEN)
    (plain,), (own,) = (plan(each, **PROBE) for each in (without, uneven))
    assert without.dataset.index_fingerprint == uneven.dataset.index_fingerprint
    assert plain.settings_fingerprint != own.settings_fingerprint
    train_methods(uneven, **PROBE)
    prompts = (("the sea at noon.", "blue paint."), (), ())
    (row,) = query(root, "SELECT class_prompts, templates FROM runs").to_pylist()
    assert row == {
        "class_prompts": [list(each) for each in prompts],
        "templates": ["a photo of a {}."],
    }
    with connect(root) as database:
        assert [each.run.class_prompts for each in read_runs(database)] == [prompts]
