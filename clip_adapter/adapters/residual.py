"""CLIP's classification rule, and the residual bottleneck adapter of CLIP-Adapter."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_adapter.errors import SettingsError


def logits(
    features: Float[Tensor, "*batch n d"],
    prototypes: Float[Tensor, "*#batch c d"],
    logit_scale: float,
) -> Float[Tensor, "*batch n c"]:
    """Scaled cosine similarity of features and class prototypes.

    `logit_scale * (f / |f|) @ (w / |w|).T`, the classifier of CLIP (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020, section 3.1.2). Only directions matter: raw and normalised
    features give the same logits up to rounding.

    Args:
        features: image features, raw or normalised, each row a direction (not all zero).
        prototypes: one text feature a class, the same for every batch or one set a batch.
        logit_scale: the inverse temperature, already exponentiated (100 for OpenAI's models).
    """
    directions = torch.nn.functional.normalize(features, dim=-1)
    return logit_scale * directions @ torch.nn.functional.normalize(prototypes, dim=-1).mT


def bottleneck(
    features: Float[Tensor, "*batch n d"],
    down: Float[Tensor, "*batch d h"],
    up: Float[Tensor, "*batch h d"],
    *,
    output_activation: bool,
) -> Float[Tensor, "*batch n d"]:
    """`ReLU(f @ down) @ up`, the network A of the paper's equations 2 and 3.

    Args:
        features: raw image features, or class prototypes.
        down: weights from the features to the hidden units.
        up: weights from the hidden units to the adapted features.
        output_activation: apply a second ReLU, as the authors' released code does.
    """
    adapted = torch.relu(features @ down) @ up
    return torch.relu(adapted) if output_activation else adapted


def residual_blend(
    features: Float[Tensor, "*batch n d"],
    adapted: Float[Tensor, "*batch n d"],
    residual_ratio: float | Float[Tensor, "..."],
) -> Float[Tensor, "*batch n d"]:
    """Blend adapted with original features: `ratio * adapted + (1 - ratio) * features`.

    The ratio is the paper's alpha, the weight of the ADAPTED feature: 0 keeps CLIP, 1 discards it.
    Raw features go in and come out: normalisation happens after the blend, not before.
    """
    return residual_ratio * adapted + (1.0 - residual_ratio) * features


def bottleneck_width(dim: int, reduction: int) -> int:
    """The hidden width `dim // reduction` of an adapter.

    Raises:
        SettingsError: if the reduction leaves no hidden unit.
    """
    if reduction < 1 or dim // reduction < 1:
        message = (
            f"a reduction of {reduction} leaves no hidden unit for features of width {dim}: "
            f"choose a reduction from 1 to {dim}"
        )
        raise SettingsError(message)
    return dim // reduction


class ResidualAdapter(nn.Module):
    """`ratio * A(f) + (1 - ratio) * f` with `A(f) = ReLU(up(ReLU(down(f))))`, without biases.

    The paper's equation 2 has one ReLU; the authors' released code applies a second one after the
    up-projection, which `output_activation` switches on (the default) or off. Without biases the
    module is positively homogeneous: scaling a raw feature scales the result, so that no logit
    depends on the norm of a feature.

    Args:
        dim: width d of the features.
        reduction: d / hidden width.
        residual_ratio: weight of the adapted feature, 0 to 1.
        output_activation: apply the second ReLU.

    Raises:
        SettingsError: for a reduction below 1 or above `dim`, or a ratio outside 0 to 1.
    """

    def __init__(
        self,
        dim: int,
        *,
        reduction: int = 4,
        residual_ratio: float = 0.2,
        output_activation: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 <= residual_ratio <= 1.0:
            message = f"a residual ratio lies from 0 to 1, not at {residual_ratio}"
            raise SettingsError(message)
        hidden = bottleneck_width(dim, reduction)
        self.down = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(hidden, dim, bias=False)
        self.residual_ratio = residual_ratio
        self.output_activation = output_activation

    def forward(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Map raw features to blended raw features."""
        down, up = self.down.weight.T, self.up.weight.T
        adapted = bottleneck(features, down, up, output_activation=self.output_activation)
        return residual_blend(features, adapted, self.residual_ratio)
