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
from clip_adapter.pipeline.refit import refit
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import find_run, query
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
NESTED = """
SELECT method, avg(value) FILTER (name = 'nested_accuracy') AS accuracy,
    avg(value) FILTER (name = 'nested_nll') AS nll
FROM metrics JOIN runs USING (run_id) WHERE metrics.split = $split AND name LIKE 'nested%'
GROUP BY method
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


@pytest.mark.parametrize("validation", [True, False])
@pytest.mark.parametrize(
    "methods",
    [
        pytest.param([*METHODS], marks=pytest.mark.slow),
        pytest.param([name for name in METHODS if name != "auto"], marks=pytest.mark.slow),
        ["gda", "tip-adapter", "ridge-to-text"],
    ],
    ids=["all", "without-auto", "closed-form"],
)
def test_other_test_labels_change_no_candidate(
    methods: list[str], encoded: EncodedDataset, root: Path, encoding: Encoding, *, validation: bool
) -> None:
    """By validation images or by held-out shots."""
    sweep: dict[str, Any] = {"methods": methods, "shots": [2], "seeds": [1, 2]}
    sweep |= {"settings": QUICK, "validation": validation}
    chosen = []
    for each in (encoded, with_other_test_labels(encoded, root)):
        train_methods(each, encoding=encoding, **sweep)
        spec, _ = choose_candidate(root, plan(each, **sweep), dataset=each.dataset.name)
        chosen.append((spec.method, spec.shots, spec.seed))
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(("validation", "split"), [(True, "validation"), (False, "held-out")])
def test_the_candidate_has_the_best_score_of_the_choice_itself(
    split: str, encoded: EncodedDataset, root: Path, encoding: Encoding, *, validation: bool
) -> None:
    methods = ["tip-adapter", "gda", "ridge-to-text"]
    sweep: dict[str, Any] = {"methods": methods, "shots": [2], "seeds": [1, 2]}
    sweep |= {"validation": validation}
    train_methods(encoded, encoding=encoding, **sweep)
    spec, _ = choose_candidate(root, plan(encoded, **sweep), dataset=encoded.dataset.name)
    scores = {
        row["method"]: (-row["accuracy"], row["nll"])
        for row in query(root, NESTED, {"split": split}).to_pylist()
    }
    assert set(scores) == set(methods)
    assert spec.method.name == min(scores, key=lambda name: scores[name])


@pytest.mark.parametrize("validation", [True, False])
def test_other_test_labels_change_no_prediction_set(
    encoded: EncodedDataset, root: Path, encoding: Encoding, *, validation: bool
) -> None:
    found = []
    for each in (encoded, with_other_test_labels(encoded, root)):
        train(each, "gda", encoding, validation=validation)
        where = f"WHERE index_fingerprint = '{each.dataset.index_fingerprint}'"
        (row,) = query(root, f"SELECT run_id FROM runs {where}").to_pylist()
        saved = refit(root, find_run(root, row["run_id"]), device="cpu", reporter=Reporter())
        found.append(saved.require_calibration())
    first, second = found
    assert first.images == ("validation" if validation else "held-out shots")
    for name in ("label_probabilities", "similarities", "class_prototypes"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


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
