"""The four kinds of classifiers that methods make."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import bottleneck, logits, predicted_ratio, residual_blend
from clip_adapter.errors import DataError
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class PrototypeClassifier:
    """Scaled cosine similarity to one prototype a class.

    Attributes:
        class_prototypes: one text feature a class, learned or not; only directions matter.
        logit_scale: CLIP's inverse temperature.
        class_names: one name a class.
    """

    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        return int(self.class_prototypes.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        prototypes = float_tensor(self.class_prototypes)
        return logits(_checked(features, self.width), prototypes, self.logit_scale).numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearClassifier:
    """Logits linear in the normalised feature: `f / |f| @ weight.T + bias`.

    Attributes:
        weight: weights, one row a class.
        bias: biases, one a class.
        class_names: one name a class.
    """

    weight: Float[np.ndarray, "c d"]
    bias: Float[np.ndarray, " c"]
    class_names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        return int(self.weight.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        directions = torch.nn.functional.normalize(_checked(features, self.width), dim=-1)
        scores = directions @ float_tensor(self.weight).T + float_tensor(self.bias)
        return scores.numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class AdapterClassifier:
    """A fitted bottleneck adapter before CLIP's rule.

    Attributes:
        down: weights of the hidden units.
        up: weights of the adapted feature.
        residual_ratio: weight of the adapted feature in the blend; with a `ratio_query` only the
            mean of the predicted ratios over the training images, for information.
        output_activation: whether a ReLU follows `up`.
        class_prototypes: one text feature a class, adapted or not.
        logit_scale: CLIP's inverse temperature.
        class_names: one name a class.
        ratio_query: weights of a ratio that is predicted from the feature,
            `sigmoid(f/|f| . ratio_query + ratio_offset)`; None for a constant ratio.
        ratio_offset: offset of a predicted ratio.
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
        """Width of the features that it classifies."""
        return int(self.down.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        raw = _checked(features, self.width)
        down, up = float_tensor(self.down).T, float_tensor(self.up).T
        adapted = bottleneck(raw, down, up, output_activation=self.output_activation)
        blended = residual_blend(raw, adapted, self._ratio(raw))
        return logits(blended, float_tensor(self.class_prototypes), self.logit_scale).numpy()

    def _ratio(self, raw: Float[Tensor, "n d"]) -> float | Float[Tensor, "n 1"]:
        if self.ratio_query is None:
            return self.residual_ratio
        return predicted_ratio(raw, float_tensor(self.ratio_query)[:, None], self.ratio_offset)


@dataclass(frozen=True, kw_only=True, eq=False)
class CacheClassifier:
    """Tip-Adapter's key-value cache beside CLIP's rule.

    `logit_scale * cos(f, w_c) + alpha * sum_i [y_i = c] exp(-beta (1 - f . k_i))` with f of
    length 1 (Zhang et al. 2022, https://arxiv.org/abs/2207.09519, equations 3 to 6). The keys
    are not normalised: features have length 1, trained keys any length.

    Attributes:
        keys: one key a cached image.
        labels: class numbers of the cached images.
        alpha: weight of the cache; at 0 these are CLIP's logits, bit for bit.
        beta: sharpness; the larger, the less distant images count.
        class_prototypes: one text feature a class.
        logit_scale: CLIP's inverse temperature.
        class_names: one name a class.
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
        """Width of the features that it classifies."""
        return int(self.keys.shape[1])

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        of_text, cosines = self.parts(features)
        labels = torch.from_numpy(self.labels.astype(np.int64))
        of_cache = class_affinities(cosines, labels, beta=self.beta, n_classes=of_text.shape[1])
        return (of_text + self.alpha * of_cache).numpy()

    def parts(
        self, features: Float[np.ndarray, "n any_width"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n k"]]:
        """The parts that depend neither on alpha nor on beta: CLIP's logits, and cosines with the keys."""
        raw = _checked(features, self.width)
        of_text = logits(raw, float_tensor(self.class_prototypes), self.logit_scale)
        return of_text, torch.nn.functional.normalize(raw, dim=-1) @ float_tensor(self.keys).T


def class_affinities(
    cosines: Float[Tensor, "n k"], labels: Int[Tensor, " k"], *, beta: float, n_classes: int
) -> Float[Tensor, "n c"]:
    """The affinity with the cached images of each class: `sum_i [y_i = c] exp(-beta (1 - cos_i))`."""
    affinities = torch.exp(-beta * (1 - cosines))
    nothing = torch.zeros(len(cosines), n_classes, device=cosines.device)
    return nothing.index_add(1, labels, affinities)


def _checked(features: Float[np.ndarray, "n any_width"], width: int) -> Float[Tensor, "n d"]:
    """Raw features as a tensor, if they have that width; else raises `DataError`."""
    if features.shape[1] != width:
        raise DataError(
            f"the features are {features.shape[1]} wide, the classifier was fitted to features "
            f"{width} wide: give it features of its own encoder"
        )
    return float_tensor(features)
