"""What every method ends in."""

from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods.tensors import float_tensor

__all__ = ["Classifier", "FeatureWidthError", "of_width", "unit_rows"]


class FeatureWidthError(ClipAdapterError, ValueError):
    """Features of another width than the classifier was fitted to."""


@runtime_checkable
class Classifier(Protocol):
    """Gives logits for any raw features of its encoder, and has names for its classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One a column of the logits."""
        ...

    @property
    def width(self) -> int:
        """Of the features it takes."""
        ...

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """One row an image, one column a class of the task it was fitted to.

        Raises:
            FeatureWidthError: if the features have another width.
        """
        ...


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
