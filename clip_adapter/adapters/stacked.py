"""Many CLIP-Adapters of one shape, evaluated as one batched tensor program."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_adapter.adapters.residual import ResidualAdapter, bottleneck, residual_blend

INITIAL_RATIO = 0.2
"""Initial value of a learned ratio: the ratio of the authors' released code."""
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
        features: Float[Tensor, "g n d"],  # noqa: ARG002  # one signature
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # one signature
    ) -> Float[Tensor, "g 1 1"]:
        """The given ratios, one a model."""
        return self.values

    def one(
        self,
        number: int,
        features: Float[Tensor, "n d"],  # noqa: ARG002  # one signature
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # one signature
    ) -> float:
        """The ratio of one model in double precision."""
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
        features: Float[Tensor, "g n d"],  # noqa: ARG002  # one signature
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # one signature
    ) -> Float[Tensor, "g 1 1"]:
        """The current ratios, one a model."""
        return torch.sigmoid(_START + self.shift)[:, :, None]

    def one(
        self,
        number: int,
        features: Float[Tensor, "n d"],  # noqa: ARG002  # one signature
        prototypes: Float[Tensor, "c d"],  # noqa: ARG002  # one signature
    ) -> float:
        """The ratio of one model."""
        return float(torch.sigmoid(_START + self.shift[number].detach()))


class PredictedRatios(nn.Module):
    """A hypernetwork: `Q(x, W) = sigmoid(x/|x| . q + mean_c(w_c/|w_c|) . r + s + shift)`.

    The paper names a hypernetwork Q(f, W) that generates the ratios (section 3) and does not say
    what it is. This is the simplest one that takes both, depends on directions only, and does
    not depend on the order of the classes. x is an image feature where the visual
    ratio is predicted, and a class's prototype where the text ratio is. All of q, r and the
    shift start at 0, so that every ratio starts at 0.2.
    """

    def __init__(self, n_models: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(n_models, width))
        self.context = nn.Parameter(torch.zeros(n_models, width))
        self.shift = nn.Parameter(torch.zeros(n_models, 1))

    def offsets(self, prototypes: Float[Tensor, "c d"]) -> Float[Tensor, "g 1"]:
        """The part of the sigmoid's argument that depends on the classes alone."""
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
"""Ratios of G models, one per model or one per feature; `one` computes those of a single model."""


def predicted_ratio(
    features: Float[Tensor, "*batch n d"],
    query: Float[Tensor, "*batch d 1"],
    offset: float | Float[Tensor, "..."],
) -> Float[Tensor, "*batch n 1"]:
    """`sigmoid(f/|f| . query + offset)` for each feature."""
    return torch.sigmoid(torch.nn.functional.normalize(features, dim=-1) @ query + offset)


class StackedBranch(nn.Module):
    """G independent bottlenecks with the ratios that blend them with the features they adapt."""

    def __init__(
        self,
        down: Float[Tensor, "g d h"],
        up: Float[Tensor, "g h d"],
        *,
        ratios: Ratios,
        output_activation: bool,
    ) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.ratios = ratios
        self.output_activation = output_activation

    def forward(
        self, features: Float[Tensor, "g n d"], prototypes: Float[Tensor, "c d"]
    ) -> Float[Tensor, "g n d"]:
        """`ratio * A(f) + (1 - ratio) * f`, where a ratio may depend on the feature."""
        adapted = bottleneck(features, self.down, self.up, output_activation=self.output_activation)
        return residual_blend(features, adapted, self.ratios(features, prototypes))

    def one(
        self, number: int, features: Float[Tensor, "n d"], prototypes: Float[Tensor, "c d"]
    ) -> Float[Tensor, "n d"]:
        """Blended features of a single model."""
        adapted = bottleneck(
            features,
            self.down[number],
            self.up[number],
            output_activation=self.output_activation,
        )
        return residual_blend(features, adapted, self.ratios.one(number, features, prototypes))


class StackedAdapterModel(nn.Module):
    """G independent CLIP-Adapters with the same branches, over the same class prototypes.

    Source: Gao et al., https://arxiv.org/abs/2110.04544, equations 2 to 5: the visual branch
    maps image features f to `a A(f) + (1 - a) f`, the text branch prototypes W to
    `b A(W) + (1 - b) W`; a branch that is None leaves them as they are.
    """

    def __init__(self, *, visual: StackedBranch | None, text: StackedBranch | None) -> None:
        super().__init__()
        self.visual = visual
        self.text = text

    def forward(
        self, features: Float[Tensor, "g n d"], prototypes: Float[Tensor, "c d"]
    ) -> tuple[Float[Tensor, "g n d"], Float[Tensor, "*g c d"]]:
        """Adapt image features and class prototypes."""
        if self.visual is not None:
            features = self.visual(features, prototypes)
        return features, self.adapted_prototypes(prototypes)

    def adapted_prototypes(self, prototypes: Float[Tensor, "c d"]) -> Float[Tensor, "*g c d"]:
        """One set of prototypes a model; the given prototypes where no branch adapts them."""
        if self.text is None:
            return prototypes
        one_set_a_model = prototypes.expand(len(self.text.down), -1, -1)
        adapted: Tensor = self.text(one_set_a_model, prototypes)
        return adapted


class StackedAdapters(nn.Module):
    """G independent `ResidualAdapter`s of one shape; adapter g sees only features[g].

    No term of the forward pass couples two adapters, so the gradient of a sum of their losses
    is, adapter by adapter, the gradient of each alone.
    """

    def __init__(
        self,
        down: Float[Tensor, "g d h"],
        up: Float[Tensor, "g h d"],
        *,
        residual_ratios: Sequence[float],
        output_activation: bool,
    ) -> None:
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.residual_ratios = tuple(residual_ratios)
        self._ratios: Tensor
        self.register_buffer("_ratios", down.new_tensor(self.residual_ratios)[:, None, None])
        self.output_activation = output_activation

    @classmethod
    def stack(cls, adapters: Sequence[ResidualAdapter]) -> "StackedAdapters":
        """Copy the weights of equally shaped adapters into one stack."""
        return cls(
            torch.stack([adapter.down.weight.detach().T for adapter in adapters]).contiguous(),
            torch.stack([adapter.up.weight.detach().T for adapter in adapters]).contiguous(),
            residual_ratios=[adapter.residual_ratio for adapter in adapters],
            output_activation=adapters[0].output_activation,
        )

    @torch.no_grad()
    def unstack(self) -> list[ResidualAdapter]:
        """The adapters one by one, with copies of their weights."""
        return [self._adapter(index) for index in range(self.down.shape[0])]

    def _adapter(self, index: int) -> ResidualAdapter:
        _, dim, hidden = self.down.shape
        with torch.random.fork_rng(devices=[]):  # the weights it draws are overwritten below
            adapter = ResidualAdapter(
                dim,
                reduction=dim // hidden,
                residual_ratio=self.residual_ratios[index],
                output_activation=self.output_activation,
            )
        adapter.down.weight.copy_(self.down[index].T)
        adapter.up.weight.copy_(self.up[index].T)
        return adapter

    def forward(self, features: Float[Tensor, "g n d"]) -> Float[Tensor, "g n d"]:
        """Map raw features, one block an adapter, to blended raw features."""
        adapted = torch.bmm(torch.relu(torch.bmm(features, self.down)), self.up)
        if self.output_activation:
            adapted = torch.relu(adapted)
        return residual_blend(features, adapted, self._ratios)
