"""Views of training images: encoded for those alone, and handed to the methods that want them."""

from pathlib import Path

import numpy as np
from steps import encode_dataset, index_dataset

from clip_adapter.methods import create_method
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.plan import SplitSpec, training_rows
from feature_cache import FeatureStore

CHOICES = SplitSpec(shots=[1, 2], seeds=[1, 2])


def encode_views(photos: Path, root: Path, model: str, *, views: int) -> EncodedDataset:
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root)
    rows = training_rows(CHOICES.splits(indexed.index))
    return encode_dataset(indexed, Encoding(model=model, views=views), view_rows=rows)


def test_only_training_images_get_views_and_none_is_encoded_twice(
    photos: Path, root: Path, tiny_model: str
) -> None:
    encoded = encode_views(photos, root, tiny_model, views=2)
    rows = training_rows(CHOICES.splits(encoded.dataset.index))
    assert 6 <= len(rows) <= 12  # three classes, two seeds, of which smaller choices are part
    assert (encoded.n_encoded, encoded.augmented_views) == (90 + 2 * len(rows), (1, 2))
    more = encode_views(photos, root, tiny_model, views=3)
    assert (more.n_encoded, more.n_reused) == (len(rows), 90 + 2 * len(rows))


def test_a_task_holds_the_views_of_its_own_images(
    photos: Path, root: Path, tiny_model: str
) -> None:
    encoded = encode_views(photos, root, tiny_model, views=2)
    arrays = DatasetFeatures(encoded)
    split = CHOICES.splits(encoded.dataset.index)[0]
    task = arrays.task(split, create_method("clip-adapter", {"views": 2}))
    assert task.n_views == 2
    store = FeatureStore(root, encoded.encoder)
    for view, features in enumerate(task.train_views if task.train_views is not None else ()):
        stored = store.read_images(arrays.digests(split.train_rows), view=view + 1)
        np.testing.assert_array_equal(features, stored)
    assert arrays.task(split, create_method("clip-adapter")).train_views is None


def test_own_templates_replace_the_datasets(photos: Path, root: Path) -> None:
    asked = ["a {}.", "the {}."]
    indexed = index_dataset(f"imagefolder:{photos}", root=root, data=root, templates=asked)
    assert indexed.templates == ("a {}.", "the {}.")
    assert indexed.prompted(("{}",)).templates == ("{}",)
    assert indexed.prompted(()) is indexed
