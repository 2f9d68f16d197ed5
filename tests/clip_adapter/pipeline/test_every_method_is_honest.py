"""Whatever the method, the test split has no say in anything but the score."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from steps import plan, train_methods

from clip_adapter.methods import METHODS, setting_names
from clip_adapter.pipeline.candidate import choose_candidate
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.pipeline.index import read_index, write_index
from clip_adapter.runs import query
from feature_cache import IndexStore

QUICK: dict[str, dict[str, Any]] = {
    "linear-probe": {"refinements": 1},
    "clip-adapter": {"epochs": 2},
    "coop": {"epochs": 2, "n_context": 4},
    "tip-adapter-f": {"epochs": 2},
    "task-res": {"epochs": 2},
    "lp++": {"iterations": 20},
    "cross-modal-probe": {"epochs": 2},
}
CHOSEN = """
SELECT shots, seed, selected_on, candidates::VARCHAR AS candidates,
    residual_ratio, inverse_regularization, alpha, beta, learning_rate, weight_decay,
    hyperparameters::VARCHAR AS hyperparameters
FROM runs WHERE index_fingerprint = '{}' ORDER BY ALL
"""
SCORES = "SELECT avg(value) AS mean FROM metrics JOIN runs USING (run_id)"


@pytest.fixture(name="encoding")
def _encoding(tiny_model: str) -> Encoding:
    return Encoding(model=tiny_model)


def relabelled(encoded: EncodedDataset, root: Path, labels: np.ndarray) -> EncodedDataset:
    """The same images and features, of which the index says other classes."""
    index = replace(read_index(encoded.dataset), labels=labels)
    write_index(IndexStore(root, encoded.dataset.name), index)
    return replace(encoded, dataset=replace(encoded.dataset, index_fingerprint=index.fingerprint))


def train(encoded: EncodedDataset, method: str, encoding: Encoding, **changes: Any) -> None:
    asked = {name: settings for name, settings in QUICK.items() if name == method}
    known = {"shots": [2], "seeds": [1], "settings": asked, "encoding": encoding}
    train_methods(encoded, methods=[method], **(known | changes))


CHOICES = [
    (method, selection)
    for method in METHODS
    for selection in (None, "held-out-shots", "none")
    if selection is None or "selection" in setting_names(METHODS[method])
]


def with_other_test_labels(encoded: EncodedDataset, root: Path) -> EncodedDataset:
    index = read_index(encoded.dataset)
    labels, rows = index.labels.copy(), index.rows("test")
    labels[rows] = np.random.default_rng(0).permutation(labels[rows])
    return relabelled(encoded, root, labels)


@pytest.mark.parametrize(("method", "selection"), CHOICES)
def test_other_test_labels_change_no_choice(
    method: str, selection: str | None, encoded: EncodedDataset, root: Path, encoding: Encoding
) -> None:
    chosen, settings = [], QUICK.get(method, {}) | ({"selection": selection} if selection else {})
    for each in (encoded, with_other_test_labels(encoded, root)):
        train(each, method, encoding, settings={method: settings}, validation=selection is None)
        chosen.append(query(root, CHOSEN.format(each.dataset.index_fingerprint)).to_pylist())
    assert len(chosen[0]) == 1
    assert chosen[0] == chosen[1]


@pytest.mark.slow
@pytest.mark.parametrize("validation", [True, False])
def test_other_test_labels_change_no_candidate(
    encoded: EncodedDataset, root: Path, encoding: Encoding, *, validation: bool
) -> None:
    """Of all methods, by validation images or by held-out shots."""
    sweep: dict[str, Any] = {"methods": [*METHODS], "shots": [2], "seeds": [1, 2]}
    sweep |= {"settings": QUICK, "validation": validation}
    chosen = []
    for each in (encoded, with_other_test_labels(encoded, root)):
        train_methods(each, encoding=encoding, **sweep)
        spec, _ = choose_candidate(root, plan(each, **sweep), dataset=each.dataset.name)
        chosen.append((spec.method, spec.shots, spec.seed))
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("method", METHODS)
def test_test_labels_that_mean_nothing_are_guessed_by_chance(
    method: str, encoded: EncodedDataset, root: Path, encoding: Encoding
) -> None:
    index = read_index(encoded.dataset)
    accuracies = []
    for seed in range(8):
        labels, rows = index.labels.copy(), index.rows("test")
        labels[rows] = np.random.default_rng(seed).permutation(labels[rows])
        other = relabelled(encoded, root, labels)
        train(other, method, encoding)
        where = f" WHERE split = 'test' AND name = 'accuracy' AND index_fingerprint = '{other.dataset.index_fingerprint}'"
        accuracies += [row["mean"] for row in query(root, SCORES + where).to_pylist()]
    # Three classes; eight shuffles of some thirty labels scatter by 0.03 around a third.
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.12)
