"""How papers train, where several methods are trained alike."""

from clip_adapter.training import Recipe

COOP_TRAINER = Recipe(
    optimizer="sgd",
    learning_rate=2e-3,
    weight_decay=5e-4,
    momentum=0.9,
    epochs=((1, 50), (4, 100), (16, 200)),
    batch_size=32,
    warmup_epochs=1,
    schedule="epochs",
)
"""CoOp's (Zhou et al. 2022, https://arxiv.org/abs/2109.01134, section 4.1), on which CLIP-Adapter's
authors built theirs."""
