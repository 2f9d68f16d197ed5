"""Many adapters of one shape, evaluated as one batched tensor program."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip_adapter.adapters.residual import ResidualAdapter, residual_blend


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
