"""The forward pass of the frozen towers: its numeric format and the size of its batches."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import cast, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from clip_adapter.encoders.fingerprint import format_version_of
from clip_adapter.encoders.names import Precision
from clip_adapter.errors import EncoderError, UnknownNameError, is_out_of_memory

_FORWARD = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FEATURES = {"fp32": torch.float32, "bf16": torch.float32, "fp16": torch.float16}
# The last is the output projection of attention.
_ONLY_MULTIPLY = {nn.Linear, nn.Conv2d, nn.MultiheadAttention, NonDynamicallyQuantizableLinear}


@dataclass(frozen=True, kw_only=True)
class PrecisionPolicy:
    """Numeric format of the forward pass; docs/adr/0009-precision.md compares the formats.

    Attributes:
        precision: `fp32`, `bf16` or `fp16`.
    """

    precision: Precision

    @classmethod
    def of(cls, precision: str) -> "PrecisionPolicy":
        """The policy of this name.

        Raises:
            UnknownNameError: there is no such precision.
        """
        if precision not in _FORWARD:
            raise UnknownNameError("precision", precision, get_args(Precision))
        return cls(precision=cast("Precision", precision))

    @property
    def format_version(self) -> int:
        """Version of the features, a part of their identity."""
        return format_version_of(self.precision)

    def round_weights(self, tower: nn.Module) -> None:
        """Round once, in place, the weights that `autocast` would round in each forward pass.

        These are the weights of matrix products and convolutions. The products stay the same, but
        torch's fast attention needs rounded weights. Other layers are unchanged.
        """
        if self.precision == "fp32":
            return
        for layer in tower.modules():
            if type(layer) in _ONLY_MULTIPLY:
                for weight in layer.parameters(recurse=False):
                    weight.data = weight.data.to(_FORWARD[self.precision])

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """A context in which towers on `device` compute in this format, whatever was set outside."""
        # Autocast expects a short format even where it is disabled.
        dtype = torch.bfloat16 if self.precision == "fp32" else _FORWARD[self.precision]
        return torch.autocast(device.type, dtype=dtype, enabled=self.precision != "fp32")

    def cast_features(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The features in the format in which they are stored: float32, or float16 for fp16.

        Raises:
            EncoderError: fp16, whose largest number is 65,504, has overflowed.
        """
        stored = features.to(_FEATURES[self.precision])
        if self.precision == "fp16" and not stored.isfinite().all():
            raise EncoderError(
                "fp16 overflows in this model: a feature is infinite or no number; take the "
                "precision bf16 or fp32"
            )
        return stored


@dataclass
class Batches:
    """Applies a tower to any number of rows, in padded batches of one size.

    A matrix product of another size may round otherwise: with one size, a feature does not
    depend on what happened to be encoded with it. A batch that does not fit into memory is
    halved and encoded again; the smaller size is kept, and changes float32 features by some
    1e-6 of their size.

    Attributes:
        size: number of rows of a batch, until the memory runs out.
    """

    size: int

    def apply(
        self, forward: Callable[[Tensor], Tensor], inputs: Shaped[Tensor, "n ..."]
    ) -> Float[Tensor, "n d"]:
        """Features of the rows, on the CPU.

        Raises:
            EncoderError: a single row does not fit into memory.
        """
        done: list[Tensor] = []
        first = 0
        while first < len(inputs):
            part = inputs[first : first + self.size]
            try:
                features = forward(_padded(part, self.size))[: len(part)].cpu()
            except (RuntimeError, MemoryError) as error:
                self._shrink(error)
                continue
            done.append(features)
            first += len(part)
        return torch.cat(done)

    def _shrink(self, error: Exception) -> None:
        if not is_out_of_memory(error):
            raise error
        if self.size == 1:
            message = (
                "the memory does not hold this model and a batch of one: close other programs, "
                "take a smaller model or precision, or another device"
            )
            raise EncoderError(message) from error
        self.size //= 2


def _padded(part: Tensor, size: int) -> Tensor:
    padding = part[:1].expand(size - len(part), *part.shape[1:])
    return torch.cat([part, padding])
