"""The number formats of a forward pass, by their names."""

from typing import Literal

__all__ = ["Precision"]

Precision = Literal["fp32", "bf16", "fp16"]
