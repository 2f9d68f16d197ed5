"""The loop over epochs and steps, with losses whose gradient is known."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_adapter.training import Training, train_stacked
from clip_adapter.training.stacked_data import visiting_orders

N_IMAGES, BATCH_SIZE, EPOCHS, RATE = 5, 2, 3, 0.1


@dataclass(frozen=True)
class Sets:
    """Two training sets of five images; a step sees two images, the last of an epoch one."""

    seeds: tuple[int, ...] = (1, 2)
    n_images: int = N_IMAGES
    views: int = 0


def training(schedule: str) -> Training:
    return Training(
        recipe="paper",
        optimizer="sgd",
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=RATE,
        weight_decay=0.0,
        momentum=0.0,
        warmup_epochs=0,
        schedule=schedule,
    )


@pytest.mark.parametrize("schedule", ["steps", "epochs"])
def test_the_learning_rate_falls_along_half_a_cosine(schedule: str) -> None:
    """The gradient is 1 in every step: a weight moves by the sum of the learning rates."""
    weights = torch.zeros(2, 1, requires_grad=True)
    train_stacked([weights], lambda _: weights[:, 0], training(schedule), sets=Sets())
    done = [
        epoch + (step / 3 if schedule == "steps" else 0)
        for epoch in range(EPOCHS)
        for step in range(3)
    ]
    rates = RATE * (1 + np.cos(np.pi * np.array(done) / EPOCHS)) / 2
    # Single precision.
    assert weights.detach().flatten().tolist() == pytest.approx([-rates.sum()] * 2, rel=1e-5)


def test_the_loss_of_an_epoch_is_the_mean_over_images_and_not_over_batches() -> None:
    weights = torch.zeros(2, 1, requires_grad=True)

    def losses(rows: Tensor) -> Tensor:
        return rows.float().square().mean(dim=1) + 0 * weights[:, 0]

    curves = train_stacked([weights], losses, training("steps"), sets=Sets())
    expected = float(np.mean(np.arange(N_IMAGES) ** 2))
    assert curves.shape == (EPOCHS, 2)
    assert curves.flatten().tolist() == pytest.approx([expected] * 2 * EPOCHS)
    # An image alone in its batch would count twice if batches were averaged.
    orders = visiting_orders((1, 2), n_images=N_IMAGES, views=0, epochs=EPOCHS)
    assert any(order[0, -1] ** 2 != expected for order in orders)
