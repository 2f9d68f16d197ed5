"""Adapts the image feature, then compares it with the class prototypes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from clip_adapter.adapters import logits, residual_blend
from clip_adapter.methods.classifiers.classifier import of_width
from clip_adapter.methods.tensors import float_tensor

__all__ = ["AdapterClassifier"]


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterClassifier:
    """A fitted `ResidualAdapter` before CLIP's rule.

    Attributes:
        down: its first weight.
        up: its second weight.
        residual_ratio: weight of the adapted feature.
        output_activation: whether a ReLU follows `up`.
        class_prototypes: of text, adapted or not.
        logit_scale: CLIP's inverse temperature.
        class_names: one a prototype.
    """

    down: Float[np.ndarray, "h d"]
    up: Float[np.ndarray, "d h"]
    residual_ratio: float
    output_activation: bool
    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Of the features it takes."""
        return int(self.down.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `FeatureWidthError` for those of another width."""
        raw = of_width(features, self.width)
        adapted = torch.relu(raw @ float_tensor(self.down).T) @ float_tensor(self.up).T
        if self.output_activation:
            adapted = torch.relu(adapted)
        blended = residual_blend(raw, adapted, self.residual_ratio)
        return logits(blended, float_tensor(self.class_prototypes), self.logit_scale).numpy()
