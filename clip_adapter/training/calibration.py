"""One number that makes a classifier as sure as it is right."""

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar

from clip_adapter.training.evaluation import check_scores, nll

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
"""A handful of images that are all classified right would be fitted best by temperature 0."""


def fit_temperature(scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]) -> float:
    """The temperature T at which `scores / T` has the lowest negative log-likelihood.

    Temperature scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 4.2): it
    changes how sure a classifier is and none of its answers. The likelihood has one peak in T; it
    is looked for in log T, between 0.05 and 20. Where nothing is gained T is 1.

    Args:
        scores: logits of images that did not train the classifier, and that are not test images.
        labels: their classes.

    Raises:
        ScoresError: there are no images, a logit is not finite, or a label is no column.
    """
    check_scores(scores, labels)
    wide = scores.astype(np.float64)
    found = minimize_scalar(
        lambda log_temperature: nll(wide / math.exp(log_temperature), labels),
        bounds=(math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)),
        method="bounded",
    )
    return math.exp(found.x) if found.fun < nll(wide, labels) else 1.0
