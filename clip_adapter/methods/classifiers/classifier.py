"""What every method ends in."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import ClipAdapterError


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
