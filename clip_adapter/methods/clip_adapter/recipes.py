"""How CLIP-Adapter trains: as its authors do, or faster."""

from collections.abc import Mapping

from clip_adapter.methods.recipes import COOP_TRAINER
from clip_adapter.training import Recipe

# Found on validation images of Flowers102, UCF101 and Caltech101 by benchmarks/fast_recipe.py;
# docs/notebook.md has the figures and what was worse.
FAST_ONE = Recipe(
    optimizer="sgd",
    learning_rate=5e-3,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=((1, 8),),
    batch_size=8,
)
FAST_FEW = Recipe(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1.0,
    epochs=((2, 14), (4, 10)),
    batch_size=32,
)
FAST_MANY = Recipe(
    optimizer="adamw",
    learning_rate=2e-3,
    weight_decay=1.0,
    epochs=((16, 14),),
    batch_size=64,
)


def recipes_for(shots: int) -> Mapping[str, Recipe]:
    """The recipes by their names, at so many labelled images a class."""
    fast = FAST_ONE if shots <= 1 else FAST_FEW if shots <= 4 else FAST_MANY
    return {"paper": COOP_TRAINER, "fast": fast}
