"""What a classifier got right, how sure it was, and how much that can be believed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

__all__ = ["Predictions", "evaluate", "predict"]

ECE_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """One row an image.

    Attributes:
        predicted: the class with the highest logit, the first of equals.
        confidence: its softmax probability.
        margin: how far that probability lies above the runner-up's; 1 when there is one class.
    """

    predicted: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]
    margin: Float[np.ndarray, " n"]


def predict(scores: Float[np.ndarray, "n c"]) -> Predictions:
    """Turn logits into predicted classes with confidence and margin."""
    probabilities = np.exp(log_softmax(scores.astype(np.float64), axis=1))
    padded = np.pad(probabilities, ((0, 0), (1, 0)))  # a runner-up even for a single class
    top_two = np.partition(padded, -2, axis=1)[:, -2:]
    return Predictions(
        predicted=scores.argmax(axis=1).astype(np.int64),
        confidence=top_two[:, 1],
        margin=top_two[:, 1] - top_two[:, 0],
    )


def evaluate(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Judge logits against labels.

    Returns:
        `accuracy`, `mean_class_recall` (over the classes that occur in `labels`), `nll` (mean
        negative log-likelihood in nats) and `ece` (expected calibration error over 15 equally
        wide confidence bins, Guo et al. 2017, https://arxiv.org/abs/1706.04599), each a
        fraction or a mean, none a percentage.
    """
    predictions = predict(scores)
    correct = predictions.predicted == labels
    log_probabilities = log_softmax(scores.astype(np.float64), axis=1)
    recalls = [correct[labels == label].mean() for label in np.unique(labels)]
    return {
        "accuracy": float(correct.mean()),
        "mean_class_recall": float(np.mean(recalls)),
        "nll": float(-log_probabilities[np.arange(len(labels)), labels].mean()),
        "ece": _expected_calibration_error(predictions.confidence, correct),
    }


def _expected_calibration_error(confidence: Float[np.ndarray, " n"], correct: np.ndarray) -> float:
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct.astype(np.float64) - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
