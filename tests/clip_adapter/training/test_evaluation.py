"""What a classifier got right, against scikit-learn, scipy and a slow loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jaxtyping import Float, Int
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    top_k_accuracy_score,
)

from clip_adapter.errors import DataError
from clip_adapter.training import evaluate, predict

Scores = Float[np.ndarray, "n c"]
Labels = Int[np.ndarray, " n"]


@st.composite
def judged_scores(draw: st.DrawFn) -> tuple[Scores, Labels]:
    """Logits, and labels of which every class occurs."""
    n_classes = draw(st.integers(2, 8))
    n_images = draw(st.integers(n_classes, 30))
    scores = draw(
        arrays(np.float32, (n_images, n_classes), elements=st.floats(-15.0, 15.0, width=32))
    )
    return scores, np.arange(n_images) % n_classes


def calibration_error_by_hand(scores: Scores, labels: Labels) -> float:
    """Guo et al. 2017, equation 3, bin by bin and image by image."""
    probabilities = softmax(scores.astype(np.float64), axis=1).max(axis=1)
    correct = scores.argmax(axis=1) == labels
    error = 0.0
    for number in range(15):
        confidences, hits = [], []
        for confidence, hit in zip(probabilities, correct, strict=True):
            last_and_full = number == 14 and confidence == 1.0
            if number <= confidence * 15 < number + 1 or last_and_full:
                confidences.append(confidence)
                hits.append(float(hit))
        if confidences:
            gap = abs(np.mean(hits) - np.mean(confidences))
            error += gap * len(confidences) / len(labels)
    return error


@given(judged_scores())
def test_the_numbers_are_those_of_scikit_learn(logits_and_labels: tuple[Scores, Labels]) -> None:
    scores, labels = logits_and_labels
    probabilities = softmax(scores.astype(np.float64), axis=1)
    predicted = scores.argmax(axis=1)
    found = evaluate(scores, labels)
    # Sums of double precision numbers, added up in another order.
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-12)
    balanced = balanced_accuracy_score(labels, predicted)
    assert found["mean_class_recall"] == pytest.approx(balanced, abs=1e-12)
    f1 = f1_score(labels, predicted, average="macro")
    assert found["macro_f1"] == pytest.approx(f1, abs=1e-12)
    all_classes = np.arange(scores.shape[1])
    nll = log_loss(labels, probabilities, labels=all_classes)
    # scikit-learn takes the logarithm of a rounded probability (and cuts it off at 2e-16, which
    # logits of at most 15 do not reach).
    assert found["nll"] == pytest.approx(nll, rel=1e-9, abs=1e-9)


@given(judged_scores())
def test_of_equal_logits_the_first_class_ranks_higher(
    logits_and_labels: tuple[Scores, Labels],
) -> None:
    scores, labels = logits_and_labels
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    within = float(np.mean([label in row for label, row in zip(labels, ranked, strict=True)]))
    assert evaluate(scores, labels)["top5_accuracy"] == pytest.approx(within, abs=1e-12)


def test_top_five_is_that_of_scikit_learn_where_no_logits_are_equal() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(200, 9)).astype(np.float32), rng.integers(0, 9, 200)
    expected = top_k_accuracy_score(labels, scores, k=5, labels=np.arange(9))
    assert 0 < expected < 1
    assert evaluate(scores, labels)["top5_accuracy"] == pytest.approx(expected, abs=1e-12)


@given(judged_scores())
def test_the_calibration_error_is_that_of_a_slow_loop(
    logits_and_labels: tuple[Scores, Labels],
) -> None:
    scores, labels = logits_and_labels
    by_hand = calibration_error_by_hand(scores, labels)
    assert evaluate(scores, labels)["ece"] == pytest.approx(by_hand, abs=1e-9)


def test_recall_is_averaged_over_the_classes_that_occur() -> None:
    scores = np.array([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [1.0, 2.0, 0.0]], dtype=np.float32)
    # Class 0: one of one; class 1: one of two; class 2 does not occur.
    found = evaluate(scores, np.array([0, 1, 1]))
    assert found["mean_class_recall"] == pytest.approx(0.75)
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_a_sure_and_right_classifier_is_calibrated() -> None:
    found = evaluate(np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([0, 1]))
    assert found == {
        "accuracy": 1.0,
        "top5_accuracy": 1.0,
        "mean_class_recall": 1.0,
        "macro_f1": 1.0,
        "nll": 0.0,
        "ece": 0.0,
    }


def test_a_sure_and_wrong_classifier_is_as_far_off_as_can_be() -> None:
    found = evaluate(np.array([[1e4, 0.0]], dtype=np.float32), np.array([1]))
    assert found == {
        "accuracy": 0.0,
        "top5_accuracy": 1.0,  # there are but two classes
        "mean_class_recall": 0.0,
        "macro_f1": 0.0,
        "nll": 1e4,
        "ece": 1.0,
    }


@given(judged_scores())
def test_confidence_and_margin_are_the_two_highest_probabilities(
    logits_and_labels: tuple[Scores, Labels],
) -> None:
    scores, _ = logits_and_labels
    found = predict(scores)
    ranked = np.sort(softmax(scores.astype(np.float64), axis=1), axis=1)
    np.testing.assert_array_equal(found.predicted, scores.argmax(axis=1))
    np.testing.assert_allclose(found.confidence, ranked[:, -1], atol=1e-12)
    np.testing.assert_allclose(found.margin, ranked[:, -1] - ranked[:, -2], atol=1e-12)


@given(judged_scores(), st.floats(-1000.0, 1000.0))
def test_adding_a_number_to_all_logits_changes_nothing(
    logits_and_labels: tuple[Scores, Labels], offset: float
) -> None:
    scores, labels = logits_and_labels
    wide = scores.astype(np.float64)
    # Adding 1000 costs a double precision logit its last 1e-13.
    shifted, found = evaluate(wide + offset, labels), evaluate(wide, labels)
    assert shifted["nll"] == pytest.approx(found["nll"], abs=1e-9)


def test_with_a_single_class_the_margin_is_one() -> None:
    found = predict(np.array([[3.0], [-3.0]], dtype=np.float32))
    assert found.predicted.tolist() == [0, 0]
    assert found.confidence.tolist() == found.margin.tolist() == [1.0, 1.0]


def test_of_equal_logits_the_first_class_is_predicted() -> None:
    assert predict(np.zeros((1, 3), dtype=np.float32)).predicted.tolist() == [0]


@pytest.mark.parametrize(
    ("scores", "labels", "complaint"),
    [
        (np.array([[np.nan, 0.0], [1.0, 0.0]]), [0, 1], "1 of 2 images have a logit that is NaN"),
        (np.array([[np.inf, 0.0]]), [0], "NaN or infinite"),
        (np.zeros((0, 2)), [], "no images"),
        (np.zeros((2, 2)), [0, 2], "labels run from 0 to 2; expected 0 to 1"),
        (np.zeros((1, 2)), [-1], "labels run from -1 to -1"),
    ],
)
def test_no_number_is_made_of_what_cannot_be_judged(
    scores: Scores, labels: list[int], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        evaluate(scores, np.array(labels, dtype=np.int64))
