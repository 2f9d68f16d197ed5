"""The features a classifier is given, as tensors."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.methods.classifiers.classifier import FeatureWidthError
from clip_adapter.methods.tensors import float_tensor


def unit_rows(features: Float[np.ndarray, "n any_width"], width: int) -> Float[Tensor, "n d"]:
    """Features of that width, each scaled to length 1.

    Raises:
        FeatureWidthError: if they have another.
    """
    return torch.nn.functional.normalize(of_width(features, width), dim=-1)


def of_width(features: Float[np.ndarray, "n any_width"], width: int) -> Float[Tensor, "n d"]:
    """Raw features as a tensor, if they are that wide; raises as `unit_rows` does."""
    if features.shape[1] != width:
        message = (
            f"the features are {features.shape[1]} wide, the classifier was fitted to features "
            f"{width} wide: give it features of its own encoder"
        )
        raise FeatureWidthError(message)
    return float_tensor(features)
