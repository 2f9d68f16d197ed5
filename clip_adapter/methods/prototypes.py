"""From prompt features to one prototype a class."""

import numpy as np
from jaxtyping import Float


def class_prototypes(prompt_features: Float[np.ndarray, "c t d"]) -> Float[np.ndarray, "c d"]:
    """Average the directions of each class's prompts, CLIP's prompt ensemble.

    `w = mean_t(p_t / |p_t|)` scaled to length 1 (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020, section 3.1.4); with one template simply its direction.

    Args:
        prompt_features: raw text features, t templates for each of c classes.
    """
    single = prompt_features.astype(np.float32, copy=False)
    with np.errstate(divide="ignore", invalid="ignore"):  # a task refuses what has no direction
        directions = single / np.linalg.norm(single, axis=2, keepdims=True)
        means = directions.mean(axis=1)
        prototypes: Float[np.ndarray, "c d"] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return prototypes.astype(np.float32)
