"""Views of training images: encoded for those alone, and handed to the methods that want them."""

from pathlib import Path

import numpy as np

from feature_cache import FeatureStore
from tasks.arrays import DatasetArrays
from tasks.encode_dataset import encode_dataset
from tasks.index_dataset import index_dataset
from tasks.plans import FewShotChoices, training_rows
from tasks.references import EncodedDataset, Encoding
from tasks.stored_indexes import read_index

CHOICES = FewShotChoices(shots=[1, 2], seeds=[1, 2])


def encode_views(photos: Path, root: Path, model: str, *, views: int) -> EncodedDataset:
    indexed = index_dataset.fn(f"imagefolder:{photos}", root=root, data=root)
    rows = training_rows(indexed, CHOICES)
    return encode_dataset.fn(indexed, Encoding(model=model, views=views), view_rows=rows)


def test_only_training_images_get_views_and_none_is_encoded_twice(
    photos: Path, root: Path, tiny_model: str
) -> None:
    encoded = encode_views(photos, root, tiny_model, views=2)
    rows = training_rows(encoded.dataset, CHOICES)
    assert 6 <= len(rows) <= 12  # three classes, two seeds, of which smaller choices are part
    assert (encoded.n_encoded, encoded.augmented_views) == (90 + 2 * len(rows), (1, 2))
    more = encode_views(photos, root, tiny_model, views=3)
    assert (more.n_encoded, more.n_reused) == (len(rows), 90 + 2 * len(rows))


def test_a_task_holds_the_views_of_its_own_images(
    photos: Path, root: Path, tiny_model: str
) -> None:
    encoded = encode_views(photos, root, tiny_model, views=2)
    index = read_index(encoded.dataset)
    arrays = DatasetArrays(encoded, index)
    split = CHOICES.splits(index)[0]
    task = arrays.task(split, views=encoded.views_for(2))
    assert task.n_views == 2
    store = FeatureStore(root, encoded.encoder)
    for view, features in enumerate(task.train_views if task.train_views is not None else ()):
        stored = store.read_images(arrays.digests(split.train_rows), view=view + 1)
        np.testing.assert_array_equal(features, stored)
    assert arrays.task(split).train_views is None


def test_own_templates_replace_the_datasets(photos: Path, root: Path) -> None:
    asked = ["a {}.", "the {}."]
    indexed = index_dataset.fn(f"imagefolder:{photos}", root=root, data=root, templates=asked)
    assert indexed.templates == ("a {}.", "the {}.")
    assert indexed.prompted(("{}",)).templates == ("{}",)
    assert indexed.prompted(()) is indexed
