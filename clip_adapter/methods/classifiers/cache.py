"""Adds to CLIP's logits what the nearest cached images say."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import logits
from clip_adapter.methods.classifiers.rows import of_width
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class CacheClassifier:
    """Tip-Adapter's key-value cache beside CLIP's rule.

    `logit_scale * cos(f, w_c) + alpha * sum_i [y_i = c] exp(-beta (1 - f . k_i))` with f of
    length 1 (Zhang et al. 2022, https://arxiv.org/abs/2207.09519, equations 3 to 6). The keys are
    taken as they are: of length 1 when they are features, of any when they were trained.

    Attributes:
        keys: one a cached image.
        labels: class numbers of the cached images.
        alpha: weight of the cache; at 0 these are CLIP's logits, bit for bit.
        beta: sharpness; the larger, the less far images count.
        class_prototypes: of text.
        logit_scale: CLIP's inverse temperature.
        class_names: one a prototype.
    """

    keys: Float[np.ndarray, "k d"]
    labels: Int[np.ndarray, " k"]
    alpha: float
    beta: float
    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Of the features it takes."""
        return int(self.keys.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `FeatureWidthError` for those of another width."""
        of_text, cosines = self.parts(features)
        labels = torch.from_numpy(self.labels.astype(np.int64))
        of_cache = class_affinities(cosines, labels, beta=self.beta, n_classes=of_text.shape[1])
        return (of_text + self.alpha * of_cache).numpy()

    def parts(
        self, features: Float[np.ndarray, "n any_width"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n k"]]:
        """What depends neither on alpha nor on beta: CLIP's logits, and cosines with the keys."""
        raw = of_width(features, self.width)
        of_text = logits(raw, float_tensor(self.class_prototypes), self.logit_scale)
        return of_text, torch.nn.functional.normalize(raw, dim=-1) @ float_tensor(self.keys).T


def class_affinities(
    cosines: Float[Tensor, "n k"], labels: Int[Tensor, " k"], *, beta: float, n_classes: int
) -> Float[Tensor, "n c"]:
    """What each class's cached images say together: `sum_i [y_i = c] exp(-beta (1 - cos_i))`."""
    affinities = torch.exp(-beta * (1 - cosines))
    nothing = torch.zeros(len(cosines), n_classes, device=cosines.device)
    return nothing.index_add(1, labels, affinities)
