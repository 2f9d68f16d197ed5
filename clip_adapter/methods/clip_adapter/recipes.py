"""How CLIP-Adapter trains: as its authors do, or faster."""

from collections.abc import Mapping

from clip_adapter.methods.recipes import COOP_TRAINER
from clip_adapter.training import Recipe

__all__ = ["recipes_for"]

# Found on validation images of Flowers102, UCF101 and Caltech101 by benchmarks/fast_recipe.py;
# docs/notebook.md has the figures and what was worse.
FAST_FEW = Recipe(
    optimizer="sgd",
    learning_rate=2e-2,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=((4, 8),),
    batch_size=16,
)
FAST_MANY = Recipe(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1e-2,
    epochs=((16, 12),),
    batch_size=64,
)
MOST_OF_FEW = 4
"""Shots up to which SGD, whose steps cost least, gets there in the time; beyond, AdamW's fewer
steps do."""


def recipes_for(shots: int) -> Mapping[str, Recipe]:
    """The recipes by their names, at so many labelled images a class."""
    return {"paper": COOP_TRAINER, "fast": FAST_FEW if shots <= MOST_OF_FEW else FAST_MANY}
