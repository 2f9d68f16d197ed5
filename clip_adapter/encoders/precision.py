"""The number format of a forward pass: float32, or half as many bits where a model bears it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from clip_adapter.encoders.errors import EncoderError
from clip_adapter.errors import UnknownNameError

__all__ = ["Arithmetic", "Precision"]

Precision = Literal["fp32", "bf16", "fp16"]

_FORWARD = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_FEATURES = {"fp32": torch.float32, "bf16": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """How the towers compute; the weights stay in float32 and are rounded where they are used.

    docs/adr/0009-precision.md compares this with rounding the weights once.

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
