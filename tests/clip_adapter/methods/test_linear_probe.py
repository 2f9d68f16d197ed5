"""Logistic regression, against scikit-learn's own probabilities."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from clip_adapter.methods import DataError, FewShotTask, Fitted, LinearProbe
from clip_adapter.methods.linear_probe import COARSE_GRID

MakeTask = Callable[..., FewShotTask]


def fit_one(method: LinearProbe, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def chosen_value(fitted: Fitted) -> float:
    return float(fitted.settings["inverse_regularization"])


def directions(features: np.ndarray) -> np.ndarray:
    unit: np.ndarray = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_the_probabilities_are_those_of_scikit_learn(
    make_task: MakeTask, pictures: np.ndarray, n_classes: int
) -> None:
    task = make_task(n_classes=n_classes, shots=4)
    fitted = fit_one(LinearProbe(), task)
    model = LogisticRegression(C=chosen_value(fitted), max_iter=1000)
    model.fit(directions(task.train_features), task.train_labels)
    found = softmax(fitted.classifier.logits(pictures), axis=1)
    # The weights are kept in float32.
    np.testing.assert_allclose(found, model.predict_proba(directions(pictures)), atol=1e-4)


def test_two_classes_get_a_logit_each(make_task: MakeTask, pictures: np.ndarray) -> None:
    found = fit_one(LinearProbe(), make_task(n_classes=2)).classifier.logits(pictures)
    assert found.shape == (len(pictures), 2)
    assert set(found.argmax(axis=1).tolist()) == {0, 1}


def test_without_validation_images_nothing_is_searched(make_task: MakeTask) -> None:
    with pytest.raises(DataError, match="no validation images to choose"):
        fit_one(LinearProbe(), make_task(n_val=0))


def test_the_coarse_grid_is_tried_first(make_task: MakeTask) -> None:
    fitted = fit_one(LinearProbe(refinements=0), make_task())
    assert (
        tuple(candidate.settings["inverse_regularization"] for candidate in fitted.candidates)
        == COARSE_GRID
    )


def test_each_refinement_tries_both_neighbours_at_half_the_distance(make_task: MakeTask) -> None:
    # Random validation labels: where the best value lies does not matter to the search.
    fitted = fit_one(LinearProbe(refinements=4), make_task(n_val=20))
    values = [
        candidate.settings["inverse_regularization"]
        for candidate in fitted.candidates[len(COARSE_GRID) :]
    ]
    spans = [values[number + 1] / values[number] for number in range(0, 8, 2)]
    # 10, 10 to the half, to the quarter, to the eighth: each twice, below and above.
    assert spans == pytest.approx([10.0 ** (2 / 2**number) for number in range(4)])


def test_validation_labels_choose_the_regularization(make_task: MakeTask) -> None:
    task = make_task(shots=8, n_val=12)
    right = fit_one(LinearProbe(), task)
    wrong = fit_one(LinearProbe(), replace(task, val_labels=(task.val_labels + 1) % 3))
    assert right.selected_on == "validation"
    # A probe that is wrong about everything had better be unsure.
    assert chosen_value(wrong) < chosen_value(right)


def test_a_training_that_hits_its_limit_is_judged_as_it_stands(make_task: MakeTask) -> None:
    # Warnings are errors here: none may leave.
    fitted = fit_one(LinearProbe(max_iterations=1), make_task())
    assert len(fitted.candidates) == len(COARSE_GRID) + 8


def test_more_classes_than_half_the_images_are_still_classes(make_task: MakeTask) -> None:
    # scikit-learn warns that such labels look like measurements; warnings are errors here.
    task = make_task(n_classes=6, shots=1)
    scores = fit_one(LinearProbe(refinements=0), task).classifier.logits(task.train_features)
    assert scores.shape == (6, 6)


def test_a_feature_of_zeros_is_classified_by_the_biases(make_task: MakeTask) -> None:
    classifier = fit_one(LinearProbe(), make_task()).classifier
    found = classifier.logits(np.zeros((1, 16), dtype=np.float32))
    assert np.isfinite(found).all()


def test_the_search_has_one_blas_thread_and_gives_the_others_back(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, fit = [], LogisticRegression.fit

    def blas_threads() -> set[int]:
        return {each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}

    def noting(model: LogisticRegression, rows: np.ndarray, labels: np.ndarray) -> object:
        seen.append(blas_threads())
        return fit(model, rows, labels)

    monkeypatch.setattr(LogisticRegression, "fit", noting)
    with threadpool_limits(limits=2, user_api="blas"):
        fit_one(LinearProbe(refinements=0), make_task())
        assert blas_threads() == {2}
    assert seen == [{1}] * len(COARSE_GRID)
