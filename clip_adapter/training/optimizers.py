"""torch's optimisers by the names of the settings."""

from collections.abc import Sequence

import torch
from torch import Tensor

from clip_adapter.training.settings import Training


def optimizer_of(weights: Sequence[Tensor], training: Training) -> torch.optim.Optimizer:
    """The optimiser that a training asks for, over these weights."""
    rate, decay, weights = training.learning_rate, training.weight_decay, list(weights)
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            weights, lr=rate, momentum=training.momentum, weight_decay=decay, fused=True
        )
    if training.optimizer == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
