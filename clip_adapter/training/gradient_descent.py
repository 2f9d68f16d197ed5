"""Gradient descent on many independent models at once, by autograd."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.errors import SettingsError
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import steps_of, visiting_orders


@runtime_checkable
class TrainingSets(Protocol):
    """Training sets of equal size, whose images are visited in an order that depends on a seed."""

    @property
    def seeds(self) -> Sequence[int]:
        """One seed a set."""

    @property
    def n_images(self) -> int:
        """Number of images in each set."""

    @property
    def views(self) -> int:
        """Augmented views of each image, whose rows follow view after view; 0 for the image itself."""


def train_stacked(  # noqa: PLR0913  # what is trained, how, and who is told
    parameters: Sequence[Tensor],
    losses: Callable[[Int[Tensor, "t b"]], Float[Tensor, " g"]],
    training: Training,
    *,
    sets: TrainingSets,
    progress: Callable[[int], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> Float[Tensor, "e g"]:
    """Train models in place and return the mean loss of each in every epoch.

    The losses are summed, never averaged over models, and the optimisers work element by
    element: so a model ends where it would have ended alone, up to the rounding of batched
    products.

    Args:
        parameters: parameters whose first dimension counts models.
        losses: function from the rows of a step, one line a training set, to each model's mean loss.
        training: optimiser and schedule.
        sets: training sets that the rows belong to.
        progress: called after each epoch with the number of models that went through it.
        after_epoch: called with the number of epochs that were trained, first with 0.

    Raises:
        SettingsError: if a loss or weight is NaN or infinite after the last epoch.
    """
    optimizer = optimizer_of(parameters, training)
    steps = steps_of(sets.n_images, training.batch_size)
    curves = []
    orders = visiting_orders(
        sets.seeds, n_images=sets.n_images, views=sets.views, epochs=training.visited_epochs
    )
    keep = after_epoch or (lambda _: None)
    keep(0)
    for epoch, order in enumerate(orders):
        total: Tensor | None = None
        for step, batch in enumerate(torch.split(order, training.batch_size, dim=1)):
            optimizer.param_groups[0]["lr"] = training.learning_rate_at(epoch, step / steps)
            found = losses(batch)
            optimizer.zero_grad(set_to_none=True)
            found.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            share = found.detach() * (batch.shape[1] / sets.n_images)
            total = share if total is None else total + share
        if total is not None:
            curves.append(total)
            if progress is not None:
                progress(len(total))
        keep(epoch + 1)
    if not curves:  # stopped before the first epoch
        return torch.zeros(0, len(parameters[0]), device=parameters[0].device)
    return check_finite(torch.stack(curves), parameters)


def check_finite(
    curves: Float[Tensor, "e g"], parameters: Sequence[Tensor]
) -> Float[Tensor, "e g"]:
    """Return the loss curves if every loss and weight is a finite number.

    Raises:
        SettingsError: a loss or weight is not; the message names the first such model.
    """
    finite = torch.isfinite(curves).all(dim=0)
    for weights in parameters:  # no loss sees the weights of the last step
        finite &= torch.isfinite(weights.detach()).flatten(1).all(dim=1)
    bad = torch.nonzero(~finite).flatten().tolist()
    if bad:
        message = (
            f"{len(bad)} of {curves.shape[1]} models (first: number {bad[0]}) diverged, a loss "
            "or weight is NaN or infinite: lower the learning rate, or check the features for "
            "extreme values"
        )
        raise SettingsError(message)
    return curves


def mean_losses(scores: Float[Tensor, "g b c"], labels: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
    """Each model's mean cross-entropy over its batch."""
    losses = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), labels.flatten(), reduction="none"
    )
    return losses.view(labels.shape).mean(dim=1)


def optimizer_of(weights: Sequence[Tensor], training: Training) -> torch.optim.Optimizer:
    """The optimiser of a training, over these weights."""
    rate, decay, weights = training.learning_rate, training.weight_decay, list(weights)
    if training.optimizer == "sgd":
        return torch.optim.SGD(
            weights, lr=rate, momentum=training.momentum, weight_decay=decay, fused=True
        )
    if training.optimizer == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=True)
