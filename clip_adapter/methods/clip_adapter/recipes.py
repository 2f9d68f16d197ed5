"""How CLIP-Adapter trains: as its authors do, or faster."""

from collections.abc import Mapping
from types import MappingProxyType

from clip_adapter.training import Recipe

__all__ = ["RECIPES"]

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # CoOp's trainer, on which CLIP-Adapter is built (https://arxiv.org/abs/2109.01134, 4.1).
        "paper": Recipe(
            optimizer="sgd",
            learning_rate=2e-3,
            weight_decay=5e-4,
            momentum=0.9,
            epochs=((1, 50), (4, 100), (16, 200)),
            batch_size=32,
            warmup_epochs=1,
            schedule="epochs",
        ),
        "fast": Recipe(
            optimizer="adamw",
            learning_rate=3e-3,
            weight_decay=1e-2,
            epochs=((1, 5), (4, 10), (16, 20)),
            batch_size=32,
        ),
    }
)
