"""Which labels changed since the champion was trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_datasets import CLASSES, SyntheticDatasets

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import read_index
from clip_adapter.pipeline.promote import label_drift
from clip_adapter.runs import LabelDrift

SIZES: dict[Any, int] = {"train": 3, "val": 4, "test": 2}
Drift = Callable[[EncodedDataset], LabelDrift]


@pytest.fixture(name="before")
def _before(datasets: SyntheticDatasets) -> EncodedDataset:
    return datasets.make_dataset(sizes=SIZES)


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
    datasets: SyntheticDatasets, before: EncodedDataset, drift: Drift
) -> None:
    labels = read_index(before.dataset).labels.copy()
    labels[0] = 1
    found = drift(datasets.relabel(before, labels))
    assert (found.n_common, found.n_relabelled) == (21, 1)
    assert found.example == "'cat/train-00.jpg', which was 'cat' and is 'dog'"


def test_a_test_image_has_no_say(
    datasets: SyntheticDatasets, before: EncodedDataset, drift: Drift
) -> None:
    index = read_index(before.dataset)
    labels = index.labels.copy()
    labels[index.rows("test")] = 0
    assert drift(datasets.relabel(before, labels)).n_relabelled == 0


def test_new_and_lost_images_are_no_change(
    datasets: SyntheticDatasets, before: EncodedDataset, drift: Drift
) -> None:
    found = drift(datasets.make_dataset((*CLASSES[:2], "owl"), sizes=SIZES))
    assert (found.n_common, found.n_relabelled) == (14, 0)
    assert before.dataset.n_images == 27


@pytest.mark.parametrize("n_still_there", [11, 10, 1])
def test_the_result_is_unknown_with_fewer_than_half_of_the_images_in_common(
    before: EncodedDataset, drift: Drift, n_still_there: int
) -> None:
    index = read_index(before.dataset)
    digests = list(index.image_sha256)
    compared = [row for row, split in enumerate(index.splits) if split != "test"]
    for row in compared[n_still_there:]:  # saved again, so that its bytes are others
        digests[row] = bytes(reversed(digests[row]))
    now = replace(index, image_sha256=tuple(digests))
    resaved = replace(
        before, dataset=replace(before.dataset, index_fingerprint=now.fingerprint).with_index(now)
    )
    found = drift(resaved)
    if n_still_there > 21 / 2:
        assert found == LabelDrift(n_common=n_still_there)
    else:
        assert f"of the 21 images it was trained among only {n_still_there} are" in found.unknown


def test_another_order_of_the_classes_is_no_change(
    datasets: SyntheticDatasets, drift: Drift
) -> None:
    found = drift(datasets.make_dataset(CLASSES[::-1], sizes=SIZES))
    assert (found.n_common, found.n_relabelled) == (21, 0)


def test_a_class_with_another_name_is_no_change_of_its_images(
    datasets: SyntheticDatasets, before: EncodedDataset, drift: Drift
) -> None:
    labels = read_index(before.dataset).labels.copy()
    names = ["a cat", "dog", "chicken"]
    found = drift(datasets.relabel(before, labels, names))
    assert (found.n_common, found.n_relabelled, found.example) == (21, 0, "")
    assert found.renamed == {"cat": "a cat", "hen": "chicken"}
    labels[0] = 2
    found = drift(datasets.relabel(before, labels, names))
    assert (found.n_relabelled, found.renamed) == (1, {"cat": "a cat", "hen": "chicken"})


@pytest.mark.parametrize(
    ("labels", "names", "n_relabelled"),
    [
        ([1, 0, 2], ["cat", "dog", "hen"], 14),  # two folders swapped
        ([0, 1, 2], ["dog", "hound", "hen"], 14),
        ([0, 0, 1], ["pet", "hen"], 14),  # as many cats as dogs: neither is the pet
    ],
)
def test_names_that_do_not_map_one_to_one_are_a_change(
    datasets: SyntheticDatasets,
    before: EncodedDataset,
    drift: Drift,
    *,
    labels: list[int],
    names: list[str],
    n_relabelled: int,
) -> None:
    moved = np.asarray(labels)[read_index(before.dataset).labels]
    found = drift(datasets.relabel(before, moved, names))
    assert (found.n_relabelled, found.renamed) == (n_relabelled, {})


def test_an_image_with_two_labels_is_not_compared(
    datasets: SyntheticDatasets, before: EncodedDataset, drift: Drift
) -> None:
    index = read_index(before.dataset)
    labels = index.labels.copy()
    assert np.array_equal(labels[[0, 9]], [0, 1])
    twice = list(index.image_sha256)
    twice[9] = twice[0]
    encoded = datasets.relabel(before, labels)
    champion: Any = SimpleNamespace(index_fingerprint=before.dataset.index_fingerprint)
    now = replace(index, image_sha256=tuple(twice))
    other = replace(encoded.dataset, index_fingerprint=now.fingerprint).with_index(now)
    assert label_drift(other, champion).n_common == 19
    assert drift(before).n_relabelled == 0


def test_a_lost_index_is_said(datasets: SyntheticDatasets, drift: Drift, root: Path) -> None:
    for path in (root / "datasets").rglob("*.parquet"):
        path.unlink()
    found = drift(datasets.make_dataset(CLASSES[:2], sizes=SIZES))
    assert "has no index" in found.unknown
