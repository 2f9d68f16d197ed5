"""Weights of a blend of classifiers, from logits of images that did not train them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from clip_adapter.training.evaluation import check_scores

LOWEST_SCALE, HIGHEST_SCALE = 1e-3, 20.0
"""Bounds of the factor that calibrates the logits of one classifier."""
PRECISE = {"ftol": 1e-13, "gtol": 1e-8}
"""The shares that are recorded do not change with the rounding of the logits."""


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How much each classifier of a blend counts.

    Attributes:
        shares: weight of each classifier's calibrated logits, scaled to add up to 1.
        weights: weight of each classifier's logits as they are.
    """

    shares: tuple[float, ...]
    weights: tuple[float, ...]


def fit_blend(
    scores: Sequence[Float[np.ndarray, "n c"]],
    labels: Int[np.ndarray, " n"],
    *,
    towards: Sequence[float],
    shrinkage: float,
) -> Blend:
    """Weights of several classifiers, shrunk towards given shares.

    Each classifier's logits are first calibrated, multiplied by the factor `b_m` of the lowest loss
    of their own. Then the weights v, 0 or more, minimise

    `loss(sum_m v_m b_m z_m) + shrinkage M / n sum_m (v_m - s_m)^2`

    over M classifiers, their shares s and n images. The loss is cross-entropy with labels smoothed by `1 / (n + 2)`, as in
    Platt's scaling (Platt 1999, "Probabilistic outputs for support vector machines", section 2.2): where
    every image is right, the factor that fits best is finite. The problem is convex.

    Args:
        scores: logits of each classifier for the same images.
        labels: class numbers of the images.
        towards: share of each classifier, which add up to 1.
        shrinkage: strength of the pull towards the shares, in images.

    Raises:
        DataError: there are no images, a logit is not finite, or a label is no column.
    """
    for each in scores:
        check_scores(each, labels)
    smoothing = 1 / (len(labels) + 2)
    factors = [_calibration(each.astype(np.float64), labels, smoothing) for each in scores]
    calibrated = np.stack(
        [factor * each.astype(np.float64) for factor, each in zip(factors, scores, strict=True)]
    )
    n_parts, n_images, n_classes = calibrated.shape
    targets = np.full((n_images, n_classes), smoothing / n_classes)
    targets[np.arange(n_images), labels] += 1 - smoothing
    given, pull = np.array(towards, dtype=np.float64), shrinkage * n_parts / n_images

    def objective(weights: Float[np.ndarray, " m"]) -> tuple[float, Float[np.ndarray, " m"]]:
        log_probabilities = log_softmax(np.tensordot(weights, calibrated, axes=1), axis=1)
        off = weights - given
        loss = -(targets * log_probabilities).sum() / n_images + pull * (off @ off)
        errors = np.exp(log_probabilities) - targets
        slopes = np.tensordot(calibrated, errors, axes=2) / n_images
        return float(loss), slopes + 2 * pull * off

    found = minimize(
        objective,
        given,
        jac=True,
        bounds=[(0, None)] * n_parts,
        method="L-BFGS-B",
        options=PRECISE,
    ).x
    if not found.sum() > 0:
        found = given
    return Blend(
        shares=tuple((found / found.sum()).tolist()),
        weights=tuple((found * np.array(factors)).tolist()),
    )


def _calibration(
    scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"], smoothing: float
) -> float:
    """The factor of logits that has the lowest smoothed cross-entropy, searched in its logarithm."""
    rows = np.arange(len(labels))

    def loss(log_factor: float) -> float:
        log_probabilities = log_softmax(math.exp(log_factor) * scores, axis=1)
        of_labels = log_probabilities[rows, labels].mean()
        return float(-(1 - smoothing) * of_labels - smoothing * log_probabilities.mean())

    bounds = (math.log(LOWEST_SCALE), math.log(HIGHEST_SCALE))
    return math.exp(
        minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-8}).x
    )
