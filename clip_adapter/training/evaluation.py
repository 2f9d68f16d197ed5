"""Metrics of a classifier's logits, and temperature scaling."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from clip_adapter.errors import DataError

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 1000.0
"""Bounds of a temperature: temperature 0 would fit a few images best that are all classified right."""


def fit_temperature(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """The temperature T at which `scores / T` has the lowest negative log-likelihood.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2): it
    changes the confidence of a classifier and none of its predictions. The likelihood has one peak in
    T; it is searched in log T, between 0.05 and 1000. Where no T is better than 1, T is 1.

    Args:
        scores: logits of images that did not train the classifier, and that are not test images.
        labels: class numbers of the images.

    Raises:
        DataError: there are no images, a logit is not finite, or a label is no column.
    """
    check_scores(scores, labels)
    wide = scores.astype(np.float64)
    found = minimize_scalar(
        lambda log_temperature: nll(wide / math.exp(log_temperature), labels),
        bounds=(math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)),
        method="bounded",
    )
    return math.exp(found.x) if found.fun < nll(wide, labels) else 1.0


ECE_BINS = 15


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions, one row an image.

    Attributes:
        predicted: number of the class with the highest logit, the first of equals.
        confidence: softmax probability of the predicted class.
        margin: confidence minus the probability of the runner-up; 1 when there is one class.
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
    """Compute the metrics of logits.

    Returns:
        - `accuracy`, and `top5_accuracy`: the true class is among the five highest logits (of
          equal logits the first class ranks higher); 1 where there are five classes or fewer.
        - `mean_class_recall`, over the classes that occur in `labels`.
        - `macro_f1`: the mean of `2 hits / (images + predictions)` over the classes that occur in
          `labels` or are predicted, as scikit-learn's `f1_score(average="macro")`.
        - `nll`: mean negative log-likelihood in nats.
        - `ece`: expected calibration error over 15 equally wide confidence bins (Guo et al. 2017,
          https://arxiv.org/abs/1706.04599).

        Each is a fraction or a mean, none a percentage.

    Raises:
        DataError: there are no images, a logit is not finite, or a label is no column.
    """
    check_scores(scores, labels)
    predictions = predict(scores)
    correct = predictions.predicted == labels
    return {
        "accuracy": float(correct.mean()),
        "top5_accuracy": float((_ranks(scores, labels) < 5).mean()),
        **_class_means(labels, predictions.predicted, n_classes=scores.shape[1]),
        "nll": nll(scores, labels),
        "ece": _expected_calibration_error(predictions.confidence, correct),
    }


def nll(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    log_probabilities = log_softmax(scores.astype(np.float64), axis=1)
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def check_scores(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> None:
    """Return if metrics can be computed; raises as `evaluate` does."""
    if not len(labels):
        raise DataError("there are no images to evaluate logits on; expected one or more")
    if not np.isfinite(scores).all():
        broken = int((~np.isfinite(scores).all(axis=1)).sum())
        raise DataError(
            f"{broken} of {len(scores)} images have a logit that is NaN or infinite: the "
            "classifier or the features are broken, train again at a lower learning rate"
        )
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise DataError(
            f"labels run from {labels.min()} to {labels.max()}; expected 0 to "
            f"{scores.shape[1] - 1}, one of the {scores.shape[1]} classes of the logits"
        )


def _ranks(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> np.ndarray:
    """Number of classes that rank before the true one."""
    true = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    ranks: np.ndarray = ((scores > true) | ((scores == true) & earlier)).sum(axis=1)
    return ranks


def _class_means(
    labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], *, n_classes: int
) -> dict[str, float]:
    images = np.bincount(labels, minlength=n_classes)
    predictions = np.bincount(predicted, minlength=n_classes)
    hits = np.bincount(labels[labels == predicted], minlength=n_classes)
    occurs, counts = images > 0, images + predictions > 0
    return {
        "mean_class_recall": float((hits[occurs] / images[occurs]).mean()),
        "macro_f1": float((2 * hits[counts] / (images + predictions)[counts]).mean()),
    }


def _expected_calibration_error(confidence: Float[np.ndarray, " n"], correct: np.ndarray) -> float:
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    gaps = np.bincount(bins, weights=correct.astype(np.float64) - confidence, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidence))
