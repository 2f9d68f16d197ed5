"""Linear in the direction of a feature."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.classifiers.rows import unit_rows
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearClassifier:
    """Logits linear in the normalised feature: `f / |f| @ weight.T + bias`.

    Attributes:
        weight: one row a class.
        bias: one number a class.
        class_names: one a class.
    """

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Of the features it takes."""
        return int(self.weight.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `FeatureWidthError` for those of another width."""
        directions = unit_rows(features, self.width)
        scores = directions @ float_tensor(self.weight).T + float_tensor(self.bias)
        return scores.numpy()
