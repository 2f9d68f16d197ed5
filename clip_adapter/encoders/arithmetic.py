"""The number format of a forward pass: float32, or half as many bits where a model bears it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from clip_adapter.encoders.errors import EncoderError
from clip_adapter.encoders.fingerprint import format_version_of
from clip_adapter.encoders.names import Precision
from clip_adapter.errors import UnknownNameError

_FORWARD = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FEATURES = {"fp32": torch.float32, "bf16": torch.float32, "fp16": torch.float16}
# The last is the output projection of attention.
_ONLY_MULTIPLY = {nn.Linear, nn.Conv2d, nn.MultiheadAttention, NonDynamicallyQuantizableLinear}


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How the towers compute; docs/adr/0009-precision.md compares the ways.

    Attributes:
        precision: `fp32`, `bf16` or `fp16`.
    """

    precision: Precision

    @classmethod
    def named(cls, precision: str) -> "Arithmetic":
        """The arithmetic of this name.

        Raises:
            UnknownNameError: there is none.
        """
        if precision not in _FORWARD:
            raise UnknownNameError("precision", precision, get_args(Precision))
        return cls(precision=cast("Precision", precision))

    @property
    def format_version(self) -> int:
        """Of the features."""
        return format_version_of(self.precision)

    def round_weights(self, tower: nn.Module) -> None:
        """Round once, in place, the weights that `active` would round anew in each forward pass.

        Those of matrix products and convolutions: what is multiplied stays the same, but torch's
        fast attention takes it only so. Layers that do more with their weights than multiply are
        left alone.
        """
        if self.precision == "fp32":
            return
        for layer in tower.modules():
            if type(layer) in _ONLY_MULTIPLY:
                for weight in layer.parameters(recurse=False):
                    weight.data = weight.data.to(_FORWARD[self.precision])

    def active(self, device: torch.device) -> AbstractContextManager[object]:
        """A context in which towers on `device` compute like this, whatever was set outside."""
        return torch.autocast(
            device.type, dtype=self._autocast_dtype, enabled=self.precision != "fp32"
        )

    def finish(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The features in the format they are stored in: float32, or float16 for fp16.

        Raises:
            EncoderError: fp16, whose largest number is 65,504, has overflowed.
        """
        finished = features.to(_FEATURES[self.precision])
        if self.precision == "fp16" and not finished.isfinite().all():
            raise EncoderError(
                "fp16 overflows in this model: a feature is infinite or no number; take the "
                "precision bf16 or fp32"
            )
        return finished

    @property
    def _autocast_dtype(self) -> torch.dtype:
        # Autocast wants to know a short format even where it does nothing.
        return torch.bfloat16 if self.precision == "fp32" else _FORWARD[self.precision]
