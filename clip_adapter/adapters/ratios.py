"""What sets a residual ratio: a number, a learned parameter, or a network that sees the feature."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

INITIAL_RATIO = 0.2
"""Where a ratio that is learned begins: the ratio of the authors' released code."""
_START = math.log(INITIAL_RATIO / (1 - INITIAL_RATIO))


class FixedRatios(nn.Module):
    """One given number a model."""

    def __init__(self, values: Sequence[float]) -> None:
        super().__init__()
        self.exact = tuple(values)
        self.values: Tensor
        self.register_buffer("values", torch.tensor(values)[:, None, None])

    def forward(
        self,
        features: Float[Tensor, "g n d"],  # noqa: ARG002  # one signature for all three
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # the same
    ) -> Float[Tensor, "g 1 1"]:
        """The numbers."""
        return self.values

    def one(
        self,
        number: int,
        features: Float[Tensor, "n d"],  # noqa: ARG002  # as above
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # as above
    ) -> float:
        """The number as it was given, in double precision."""
        return self.exact[number]


class LearnedRatios(nn.Module):
    """`sigmoid(s + shift)`, one a model, with s the logit of 0.2 and the shift learned from 0.

    Weight decay pulls the shift to 0, that is the ratio to 0.2.
    """

    def __init__(self, n_models: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(n_models, 1))

    def forward(
        self,
        features: Float[Tensor, "g n d"],  # noqa: ARG002  # one signature for all three
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # the same
    ) -> Float[Tensor, "g 1 1"]:
        """The ratios as learned so far."""
        return torch.sigmoid(_START + self.shift)[:, :, None]

    def one(
        self,
        number: int,
        features: Float[Tensor, "n d"],  # noqa: ARG002  # as above
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # as above
    ) -> float:
        """The ratio of one model."""
        return float(torch.sigmoid(_START + self.shift[number].detach()))


class PredictedRatios(nn.Module):
    """A hypernetwork: `Q(x, W) = sigmoid(x/|x| . q + mean_c(w_c/|w_c|) . r + s + shift)`.

    The paper names a hypernetwork Q(f, W) that generates the ratios (section 3) and leaves its
    form open; this is our reading: the simplest one that sees both, depends on directions only,
    and does not care for the order of the classes. x is an image feature where the visual
    ratio is predicted, and a class's prototype where the text ratio is. All of q, r and the
    shift start at 0, so that every ratio starts at 0.2.
    """

    def __init__(self, n_models: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(n_models, width))
        self.context = nn.Parameter(torch.zeros(n_models, width))
        self.shift = nn.Parameter(torch.zeros(n_models, 1))

    def offsets(self, prototypes: Float[Tensor, "c d"]) -> Float[Tensor, "g 1"]:
        """What the classes alone contribute before the sigmoid."""
        mean = torch.nn.functional.normalize(prototypes, dim=-1).mean(dim=0)
        return self.context @ mean[:, None] + _START + self.shift

    def forward(
        self, features: Float[Tensor, "g n d"], prototypes: Float[Tensor, "c d"]
    ) -> Float[Tensor, "g n 1"]:
        """One ratio a feature."""
        offsets = self.offsets(prototypes)[:, :, None]
        return predicted_ratio(features, self.query[:, :, None], offsets)

    def one(
        self, number: int, features: Float[Tensor, "n d"], prototypes: Float[Tensor, "c d"]
    ) -> Float[Tensor, "n 1"]:
        """The ratios of one model, one a feature."""
        offset = self.offsets(prototypes)[number]
        return predicted_ratio(features, self.query[number, :, None], offset)


Ratios = FixedRatios | LearnedRatios | PredictedRatios
"""Gives each of G models one ratio, or one a row of its features; `one` gives a single model's."""


def predicted_ratio(
    features: Float[Tensor, "*batch n d"],
    query: Float[Tensor, "*batch d 1"],
    offset: float | Float[Tensor, "..."],
) -> Float[Tensor, "*batch n 1"]:
    """`sigmoid(f/|f| . query + offset)` for each feature."""
    return torch.sigmoid(torch.nn.functional.normalize(features, dim=-1) @ query + offset)
