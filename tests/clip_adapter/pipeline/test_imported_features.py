"""Features made elsewhere, as the pipeline sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import encode_dataset, index_dataset

from clip_adapter.datasets import DatasetError
from clip_adapter.errors import UnknownNameError
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.index import IndexedDataset
from feature_cache import NotStoredError
from feature_cache.exchange import LabelledFeatures, import_features, texts_of_file

SPLITS = ("train", "val", "test")


@pytest.fixture(name="imported")
def _imported(root: Path) -> Callable[[], IndexedDataset]:
    """Import 36 half precision features of three classes, and index them."""
    random = np.random.default_rng(0)
    features = LabelledFeatures.from_arrays(
        source="x",
        features=random.normal(size=(36, 8)).astype(np.float16),
        labels=np.arange(36) % 3,
        class_names=["c", "b", "a"],
        splits=[SPLITS[row // 3 % 3] for row in range(36)],
        text_features=random.normal(size=(3, 8)).astype(np.float16),
        logit_scale=10.0,
    )
    import_features(root, features, name="abc", label="theirs", texts=texts_of_file(features))
    return lambda: index_dataset("features:abc", root=root, data=root / "images")


def encode(dataset: IndexedDataset) -> EncodedDataset:
    return encode_dataset(dataset, Encoding())


def test_an_imported_dataset_is_indexed_and_encoded_already(
    imported: Callable[[], IndexedDataset],
) -> None:
    dataset = imported()
    assert (dataset.class_names, dataset.templates) == (("c", "b", "a"), ("{}",))
    assert (dataset.n_images, dataset.n_leaked) == (36, 0)
    encoded = encode(dataset)
    assert (encoded.model, encoded.precision, encoded.logit_scale) == ("theirs", "float16", 10.0)
    assert (encoded.n_encoded, encoded.n_reused, encoded.n_prompts_encoded) == (0, 36, 0)


def test_its_arrays_are_what_was_imported(imported: Callable[[], IndexedDataset]) -> None:
    encoded = encode(imported())
    arrays = DatasetFeatures(encoded)
    features = np.random.default_rng(0).normal(size=(36, 8)).astype(np.float16)
    np.testing.assert_array_equal(arrays.image_features(np.arange(36)), features.astype(np.float32))
    assert arrays.prompt_features.shape == (3, 1, 8)
    assert arrays.test_rows().tolist() == [row for row in range(36) if row // 3 % 3 == 2]


@pytest.mark.parametrize("folder", ["image", "text"])
def test_a_missing_feature_names_the_import(
    imported: Callable[[], IndexedDataset], root: Path, folder: str
) -> None:
    dataset = imported()
    for path in root.glob(f"features/*/{folder}/*.parquet"):
        path.unlink()
    with pytest.raises(NotStoredError, match="cache import PATH --name abc"):
        encode(dataset)


def test_an_unknown_name_suggests_the_imported_ones(
    imported: Callable[[], IndexedDataset], root: Path
) -> None:
    imported()
    with pytest.raises(NotStoredError, match="did you mean 'abc'"):
        index_dataset("features:abd", root=root, data=root)


@pytest.mark.parametrize(
    ("choice", "option"),
    [
        ({"model": "glyphs"}, "--model"),
        ({"precision": "fp16"}, "--precision"),
        ({"resize": "squash"}, "--resize"),
        ({"views": 2}, "--views"),
    ],
)
def test_how_to_encode_cannot_be_chosen(choice: dict[str, Any], option: str) -> None:
    Encoding().check("features:abc")
    Encoding(**choice).check("digits")
    with pytest.raises(DatasetError, match=option):
        Encoding(**choice).check("features:abc")


def test_no_preprocessing_can_be_chosen() -> None:
    with pytest.raises(DatasetError, match="--preprocessing"):
        Encoding(preprocessing="ViT-B-32:openai").check("features:abc")


def test_a_model_that_does_not_exist_is_refused_for_images() -> None:
    with pytest.raises(UnknownNameError, match="'glyphs'"):
        Encoding(model="glyph").check("digits")


def test_a_short_class_of_imported_features_cannot_be_skipped(
    imported: Callable[[], IndexedDataset], root: Path
) -> None:
    dataset = imported()
    same = index_dataset("features:abc", root=root, data=root, skip_short=[4])
    assert same == dataset
    with pytest.raises(DatasetError, match=r"class 'c' .* \(--short-classes take-all"):
        index_dataset("features:abc", root=root, data=root, skip_short=[8])
