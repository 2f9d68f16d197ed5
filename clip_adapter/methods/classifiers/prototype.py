"""Nearest class prototype."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clip_adapter.adapters import logits
from clip_adapter.methods.classifiers.rows import of_width
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeClassifier:
    """Scaled cosine similarity to one prototype a class.

    Attributes:
        class_prototypes: of text, learned or not; only their directions matter.
        logit_scale: CLIP's inverse temperature.
        class_names: one a prototype.
    """

    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Of the features it takes."""
        return int(self.class_prototypes.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `FeatureWidthError` for those of another width."""
        prototypes = float_tensor(self.class_prototypes)
        return logits(of_width(features, self.width), prototypes, self.logit_scale).numpy()
