"""Whether features can be used, decided in one place for images and prompts."""

import numpy as np
from jaxtyping import Bool, Float

LEAST_NORM = 1e-12
"""The least norm that `torch.nn.functional.normalize` divides by."""


def can_be_normalised(features: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
    """Whether each feature is finite and longer than 1e-12, so that it has a direction."""
    norms = np.linalg.norm(features.astype(np.float64), axis=1)
    directed: Bool[np.ndarray, " n"] = (norms > LEAST_NORM) & (norms < np.inf)
    return directed
