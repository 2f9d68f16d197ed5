"""What no promotion can be won by: spoiled labels, and the test split."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load
from synthetic_datasets import GOOD, WORTHLESS, SyntheticDatasets

from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.index import read_index
from clip_adapter.runs import Champion, PromotionRecord, PromotionStore

Event = PromotionRecord
CurrentChampion = Callable[[], Champion | None]


def relabelled(
    datasets: SyntheticDatasets, encoded: EncodedDataset, change: Callable[..., Any]
) -> Any:
    index = read_index(encoded.dataset)
    labels = index.labels.copy()
    change(labels, np.asarray(index.splits))
    return datasets.relabel(encoded, labels)


def shuffle(labels: np.ndarray, splits: np.ndarray) -> None:
    rows = np.flatnonzero(splits != "test")
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])


def swap_two(labels: np.ndarray, splits: np.ndarray) -> None:  # noqa: ARG001  # a change
    labels[:] = np.array([1, 0, 2])[labels]


def shuffle_test(labels: np.ndarray, splits: np.ndarray) -> None:
    rows = np.flatnonzero(splits == "test")
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])


@pytest.mark.parametrize("spoil", [shuffle, swap_two])
def test_spoiled_labels_are_refused_and_told_and_the_champion_stays(
    datasets: SyntheticDatasets,
    current_champion: CurrentChampion,
    events: list[Event],
    spoil: Callable[..., None],
) -> None:
    """Two folders swapped: the candidate would win on labels as wrong as those it learned."""
    encoded = datasets.make_dataset()
    champion = datasets.retrain(encoded, GOOD).record
    record = datasets.retrain(relabelled(datasets, encoded, spoil), GOOD).record
    assert record.decision == "refused"
    assert record.reason.startswith("labels changed: ")
    assert record.n_relabelled > 0
    assert len(events) == 1
    found = current_champion()
    assert found is not None
    assert found.record == champion


def test_changed_labels_can_be_accepted_on_purpose(datasets: SyntheticDatasets) -> None:
    encoded = datasets.make_dataset()
    datasets.retrain(encoded, GOOD)
    swapped = relabelled(datasets, encoded, swap_two)
    assert datasets.retrain(swapped, GOOD).record.decision == "refused"
    accepted = datasets.retrain(swapped, GOOD, max_relabelled_fraction=1.0)
    assert (accepted.record.decision, accepted.is_new) == ("promoted", True)


def test_an_index_that_is_lost_is_no_licence(datasets: SyntheticDatasets, root: Path) -> None:
    encoded = datasets.make_dataset()
    datasets.retrain(encoded, GOOD)
    for path in (root / "datasets").rglob("*.parquet"):
        path.unlink()
    swapped = datasets.make_dataset(sizes={"train": 12, "val": 41, "test": 10})
    record = datasets.retrain(swapped, GOOD).record
    assert record.decision == "refused"
    assert "cannot be determined" in record.reason


@pytest.mark.usefixtures("events")
def test_permuted_test_labels_change_no_decision(tmp_path: Path) -> None:
    """Neither who is chosen, nor what is promoted, nor by which numbers."""
    decisions, weights = [], []
    for name, change in (("as they are", None), ("permuted", shuffle_test)):
        datasets = SyntheticDatasets(tmp_path / name)
        encoded = datasets.make_dataset()
        encoded = relabelled(datasets, encoded, change) if change else encoded
        made = [datasets.retrain(encoded, sweep).record for sweep in (GOOD, WORTHLESS)]
        decisions.append([(each.decision, each.reason[:30], each.low) for each in made])
        # The file also tells the accuracy on the test split.
        weights.append(load(PromotionStore(tmp_path / name).read(made[0]).content))
    assert decisions[0] == decisions[1]
    assert weights[0].keys() == weights[1].keys()
    for name, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][name])


def test_permuted_test_labels_are_no_changed_labels(datasets: SyntheticDatasets) -> None:
    encoded = datasets.make_dataset()
    datasets.retrain(encoded, GOOD)
    record = datasets.retrain(relabelled(datasets, encoded, shuffle_test), GOOD).record
    assert record.n_relabelled == 0
    assert record.reason.startswith("not proven better: ")
