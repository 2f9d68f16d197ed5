"""CLIP-Adapter in any of its forms: on the visual branch, the text branch, or both."""

from jaxtyping import Float
from torch import Tensor, nn

from clip_adapter.adapters.ratios import Ratios
from clip_adapter.adapters.residual import bottleneck, residual_blend


class StackedBranch(nn.Module):
    """G independent bottlenecks and what blends each with the features it adapts."""

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
        """The same by one of the models alone."""
        adapted = bottleneck(
            features,
            self.down[number],
            self.up[number],
            output_activation=self.output_activation,
        )
        return residual_blend(features, adapted, self.ratios.one(number, features, prototypes))


class StackedForms(nn.Module):
    """G independent CLIP-Adapters of one form, over the same class prototypes.

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
        """Adapted image features, and the prototypes to compare them with."""
        if self.visual is not None:
            features = self.visual(features, prototypes)
        return features, self.adapted_prototypes(prototypes)

    def adapted_prototypes(self, prototypes: Float[Tensor, "c d"]) -> Float[Tensor, "*g c d"]:
        """One set of prototypes a model, or those given where no branch adapts them."""
        if self.text is None:
            return prototypes
        one_set_a_model = prototypes.expand(len(self.text.down), -1, -1)
        adapted: Tensor = self.text(one_set_a_model, prototypes)
        return adapted
