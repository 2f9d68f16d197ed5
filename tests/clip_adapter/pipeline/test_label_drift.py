"""Which labels changed since the champion was trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from galleries import CLASSES, Gallery

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import read_index
from clip_adapter.pipeline.promote import label_drift
from clip_adapter.runs import LabelDrift

SIZES: dict[Any, int] = {"train": 3, "val": 4, "test": 2}
Drift = Callable[[EncodedDataset], LabelDrift]


@pytest.fixture(name="before")
def _before(gallery: Gallery) -> EncodedDataset:
    return gallery.hang(sizes=SIZES)


@pytest.fixture(name="drift")
def _drift(before: EncodedDataset) -> Drift:
    """Against a champion that was trained on the dataset as it was before."""
    champion: Any = SimpleNamespace(index_fingerprint=before.dataset.index_fingerprint)

    def since(encoded: EncodedDataset) -> LabelDrift:
        return label_drift(encoded.dataset, champion)

    return since


def test_nothing_changed_where_the_index_is_the_same(before: EncodedDataset, drift: Drift) -> None:
    assert drift(before) == LabelDrift()


def test_one_changed_label_is_counted_and_shown(
    gallery: Gallery, before: EncodedDataset, drift: Drift
) -> None:
    labels = read_index(before.dataset).labels.copy()
    labels[0] = 1
    found = drift(gallery.relabel(before, labels))
    assert (found.n_common, found.n_relabelled) == (21, 1)
    assert found.example == "'cat/train-00.jpg', which was 'cat' and is 'dog'"


def test_a_test_image_has_no_say(gallery: Gallery, before: EncodedDataset, drift: Drift) -> None:
    index = read_index(before.dataset)
    labels = index.labels.copy()
    labels[index.rows("test")] = 0
    assert drift(gallery.relabel(before, labels)).n_relabelled == 0


def test_new_and_lost_images_are_no_change(
    gallery: Gallery, before: EncodedDataset, drift: Drift
) -> None:
    found = drift(gallery.hang((*CLASSES[:2], "owl"), sizes=SIZES))
    assert (found.n_common, found.n_relabelled) == (14, 0)
    assert before.dataset.n_images == 27


def test_another_order_of_the_classes_is_no_change(gallery: Gallery, drift: Drift) -> None:
    found = drift(gallery.hang(CLASSES[::-1], sizes=SIZES))
    assert (found.n_common, found.n_relabelled) == (21, 0)


def test_a_class_with_another_name_is_a_change(
    gallery: Gallery, before: EncodedDataset, drift: Drift
) -> None:
    labels = read_index(before.dataset).labels
    found = drift(gallery.relabel(before, labels, ["cat", "dog", "chicken"]))
    assert found.n_relabelled == 7


def test_an_image_with_two_labels_is_not_compared(
    gallery: Gallery, before: EncodedDataset, drift: Drift
) -> None:
    index = read_index(before.dataset)
    labels = index.labels.copy()
    assert np.array_equal(labels[[0, 9]], [0, 1])
    twice = list(index.image_sha256)
    twice[9] = twice[0]
    encoded = gallery.relabel(before, labels)
    champion: Any = SimpleNamespace(index_fingerprint=before.dataset.index_fingerprint)
    now = replace(index, image_sha256=tuple(twice))
    other = replace(encoded.dataset, index_fingerprint=now.fingerprint).with_index(now)
    assert label_drift(other, champion).n_common == 19
    assert drift(before).n_relabelled == 0


def test_a_lost_index_is_said(gallery: Gallery, drift: Drift, root: Path) -> None:
    for path in (root / "datasets").rglob("*.parquet"):
        path.unlink()
    found = drift(gallery.hang(CLASSES[:2], sizes=SIZES))
    assert "has no index" in found.unknown
