"""Adapts the image feature, then compares it with the class prototypes."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clip_adapter.adapters import bottleneck, logits, predicted_ratio, residual_blend
from clip_adapter.methods.classifiers.rows import of_width
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterClassifier:
    """A fitted bottleneck adapter before CLIP's rule.

    Attributes:
        down: its first weight.
        up: its second weight.
        residual_ratio: weight of the adapted feature; with a `ratio_query` only its mean over
            the training images, for information.
        output_activation: whether a ReLU follows `up`.
        class_prototypes: of text, adapted or not.
        logit_scale: CLIP's inverse temperature.
        class_names: one a prototype.
        ratio_query: where the ratio is predicted from the feature,
            `sigmoid(f/|f| . ratio_query + ratio_offset)`.
        ratio_offset: goes with it.
    """

    down: Float[np.ndarray, "h d"]
    up: Float[np.ndarray, "d h"]
    residual_ratio: float
    output_activation: bool
    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]
    ratio_query: Float[np.ndarray, " d"] | None = None
    ratio_offset: float = 0.0

    @property
    def width(self) -> int:
        """Of the features it takes."""
        return int(self.down.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `FeatureWidthError` for those of another width."""
        raw = of_width(features, self.width)
        down, up = float_tensor(self.down).T, float_tensor(self.up).T
        adapted = bottleneck(raw, down, up, output_activation=self.output_activation)
        blended = residual_blend(raw, adapted, self._ratio(raw))
        return logits(blended, float_tensor(self.class_prototypes), self.logit_scale).numpy()

    def _ratio(self, raw: Float[Tensor, "n d"]) -> float | Float[Tensor, "n 1"]:
        if self.ratio_query is None:
            return self.residual_ratio
        return predicted_ratio(raw, float_tensor(self.ratio_query)[:, None], self.ratio_offset)
