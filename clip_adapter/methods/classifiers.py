"""The kinds of classifiers that methods make."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import bottleneck, logits, predicted_ratio, residual_blend
from clip_adapter.errors import DataError
from clip_adapter.methods.method import Classifier
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
        return (of_text + self.alpha * self.of_cache(cosines)).numpy()

    def parts(
        self, features: Float[np.ndarray, "n any_width"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n k"]]:
        """The parts that depend neither on alpha nor on beta: CLIP's logits, and cosines with the keys."""
        raw = _checked(features, self.width)
        of_text = logits(raw, float_tensor(self.class_prototypes), self.logit_scale)
        return of_text, torch.nn.functional.normalize(raw, dim=-1) @ float_tensor(self.keys).T

    def of_cache(self, cosines: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """What the cache adds at alpha 1, `sum_i [y_i = c] exp(-beta (1 - cos_i))`."""
        affinities = torch.exp(-self.beta * (1 - cosines))
        return sums_by_class(affinities, _numbers(self.labels), len(self.class_names))


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightedCacheClassifier(CacheClassifier):
    """A cache of weighted images that compares some channels of a feature only, as APE makes it.

    `logit_scale * cos(f, w_c) + alpha * sum_i [y_i = c] r_i exp(-beta (1 - u(m * f) . k_i))` with u
    scaling to length 1 (Zhu et al. 2023, https://arxiv.org/abs/2304.01195).

    Attributes:
        image_weights: weight r of each cached image.
        channels: the mask m, 1 for the channels that are compared, else 0.
    """

    image_weights: Float[np.ndarray, " k"]
    channels: Float[np.ndarray, " d"]

    def parts(
        self, features: Float[np.ndarray, "n any_width"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n k"]]:
        """The parts that depend neither on alpha nor on beta: CLIP's logits, and cosines with the keys."""
        raw = _checked(features, self.width)
        of_text = logits(raw, float_tensor(self.class_prototypes), self.logit_scale)
        masked = torch.nn.functional.normalize(raw, dim=-1) * float_tensor(self.channels)
        return of_text, torch.nn.functional.normalize(masked, dim=-1) @ float_tensor(self.keys).T

    def of_cache(self, cosines: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """What the cache adds at alpha 1, from cosines with the keys."""
        affinities = torch.exp(-self.beta * (1 - cosines)) * float_tensor(self.image_weights)
        return sums_by_class(affinities, _numbers(self.labels), len(self.class_names))


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelClassifier:
    """A kernel regression on training images beside CLIP's rule, as ProKeR makes it.

    `logit_scale * cos(f, w_c) + sum_i exp(-beta (1 - f . k_i)) v_ic` with f of length 1 (Bendou et al.
    2025, https://arxiv.org/abs/2501.11175).

    Attributes:
        keys: one feature of length 1 a training image.
        values: what each image adds to the logit of each class.
        beta: sharpness; the larger, the less distant images count.
        class_prototypes: one text feature a class.
        logit_scale: CLIP's inverse temperature.
        class_names: one name a class.
    """

    keys: Float[np.ndarray, "k d"]
    values: Float[np.ndarray, "k c"]
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
        raw = _checked(features, self.width)
        of_text = logits(raw, float_tensor(self.class_prototypes), self.logit_scale)
        # In double precision: large values of similar keys cancel each other.
        directions = torch.nn.functional.normalize(raw.double(), dim=-1)
        cosines = directions @ torch.from_numpy(self.keys.astype(np.float64)).T
        values = torch.from_numpy(self.values.astype(np.float64))
        of_kernel = torch.exp(-self.beta * (1 - cosines)) @ values
        return (of_text + of_kernel).float().numpy()


@dataclass(frozen=True, kw_only=True, eq=False)
class BlendedClassifier:
    """A weighted sum of the logits of other classifiers of the same classes.

    Attributes:
        parts: classifiers of the same classes, in the same order, and of features of the same width.
        weights: weight of the logits of each part.
    """

    parts: tuple[Classifier, ...]
    weights: tuple[float, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name for each column of the logits."""
        return self.parts[0].class_names

    @property
    def width(self) -> int:
        """Width of the features that it classifies."""
        return self.parts[0].width

    def logits(self, features: Float[np.ndarray, "n any_width"]) -> Float[np.ndarray, "n c"]:
        """Logits of raw features; raises `DataError` for features of another width."""
        blended: Float[np.ndarray, "n c"] = blend(
            [part.logits(features) for part in self.parts], self.weights
        )
        return blended


def blend(
    scores: Sequence[Float[np.ndarray, "n c"]], weights: Sequence[float]
) -> Float[np.ndarray, "n c"]:
    """The weighted sum of the logits of several classifiers, in single precision."""
    blended = sum(
        weight * each.astype(np.float64) for weight, each in zip(weights, scores, strict=True)
    )
    return np.asarray(blended, dtype=np.float32)


def sums_by_class(
    values: Float[Tensor, "n k"], labels: Int[Tensor, " k"], n_classes: int
) -> Float[Tensor, "n c"]:
    """The sum of the columns of each class."""
    nothing = torch.zeros(len(values), n_classes, device=values.device)
    return nothing.index_add(1, labels, values)


def _numbers(labels: Int[np.ndarray, " k"]) -> Int[Tensor, " k"]:
    return torch.from_numpy(labels.astype(np.int64))


def _checked(features: Float[np.ndarray, "n any_width"], width: int) -> Float[Tensor, "n d"]:
    """Raw features as a tensor, if they have that width; else raises `DataError`."""
    if features.shape[1] != width:
        raise DataError(
            f"the features are {features.shape[1]} wide, the classifier was fitted to features "
            f"{width} wide: give it features of its own encoder"
        )
    return float_tensor(features)
