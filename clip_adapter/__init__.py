"""Few-shot adaptation of CLIP on cached features.

The arrays-only surface is `ResidualAdapter` and `logits`; they load torch when first used, so
that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_adapter.adapters import ResidualAdapter as ResidualAdapter
    from clip_adapter.adapters import logits as logits

__version__ = "0.1.0"
__all__ = ["ResidualAdapter", "__version__", "logits"]


def __getattr__(name: str) -> Any:
    if name in {"ResidualAdapter", "logits"}:
        return getattr(import_module("clip_adapter.adapters"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
