"""One optimiser, one tensor program, many independent adapters."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import StackedAdapters, logits
from clip_adapter.errors import ClipAdapterError
from clip_adapter.training.settings import TrainingSettings

__all__ = ["DivergedError", "StackedData", "train_stack"]


class DivergedError(ClipAdapterError, ArithmeticError):
    """The training loss or a weight of an adapter stopped being a finite number."""


@dataclass(frozen=True, kw_only=True)
class StackedData:
    """T few-shot training sets of equal size, and which of them each of G adapters learns from.

    Attributes:
        features: raw image features.
        labels: class numbers.
        prototypes: one text feature a class, shared by all adapters.
        logit_scale: CLIP's inverse temperature.
        set_of_adapter: for each adapter the number of its training set.
        seeds: one a training set; it fixes the order in which the images are visited.
    """

    features: Float[Tensor, "t n d"]
    labels: Int[Tensor, "t n"]
    prototypes: Float[Tensor, "c d"]
    logit_scale: float
    set_of_adapter: Int[Tensor, " g"]
    seeds: Sequence[int]


def train_stack(
    adapters: StackedAdapters,
    data: StackedData,
    settings: TrainingSettings,
    *,
    epochs: int,
    progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "e g"]:
    """Train every adapter of the stack in place and return its mean loss in each epoch.

    Each adapter visits its images in the order its set's seed gives and minimises its own mean
    cross-entropy. The losses are summed, never averaged over adapters, and AdamW works element
    by element, so an adapter ends where it would have ended alone (up to the rounding of a
    batched matrix product).

    Args:
        adapters: the stack, on the device of `data`; its weights change.
        data: what each adapter learns from.
        settings: optimiser and schedule.
        epochs: passes over the images.
        progress: called after each epoch with the number of adapters that went through it.

    Raises:
        DivergedError: if a loss or weight is NaN or infinite after the last epoch, naming the
            adapter.
    """
    n_images = data.labels.shape[1]
    steps_per_epoch = math.ceil(n_images / settings.batch_size)
    optimizer = torch.optim.AdamW(
        adapters.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps_per_epoch)
    curves = []
    for order in _visiting_orders(data, epochs):
        total = torch.zeros(len(data.set_of_adapter), device=data.features.device)
        for first in range(0, n_images, settings.batch_size):
            batch = order[:, first : first + settings.batch_size]
            losses = _losses(adapters, data, batch)
            optimizer.zero_grad(set_to_none=True)
            losses.sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimizer.step()
            schedule.step()
            total += losses.detach() * (batch.shape[1] / n_images)
        curves.append(total)
        if progress is not None:
            progress(len(total))
    return _finite(torch.stack(curves), adapters)


def _visiting_orders(data: StackedData, epochs: int) -> Iterator[Int[Tensor, "t n"]]:
    """For each epoch a permutation of the images a training set, on the CPU generator's word."""
    generators = [torch.Generator().manual_seed(seed) for seed in data.seeds]
    n_images = data.labels.shape[1]
    for _ in range(epochs):
        orders = [torch.randperm(n_images, generator=generator) for generator in generators]
        yield torch.stack(orders).to(data.features.device)


def _losses(
    adapters: StackedAdapters, data: StackedData, batch: Int[Tensor, "t b"]
) -> Float[Tensor, " g"]:
    sets = torch.arange(len(data.seeds), device=batch.device)[:, None]
    features = data.features[sets, batch][data.set_of_adapter]
    labels = data.labels[sets, batch][data.set_of_adapter]
    scores = logits(adapters(features), data.prototypes, data.logit_scale)
    losses = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), labels.flatten(), reduction="none"
    )
    return losses.view(labels.shape).mean(dim=1)


def _finite(curves: Float[Tensor, "e g"], adapters: StackedAdapters) -> Float[Tensor, "e g"]:
    finite = torch.isfinite(curves).all(dim=0)
    for weights in adapters.parameters():  # the last step's are seen by no loss
        finite &= torch.isfinite(weights).flatten(1).all(dim=1)
    bad = torch.nonzero(~finite).flatten().tolist()
    if bad:
        message = (
            f"{len(bad)} of {curves.shape[1]} adapters (first: number {bad[0]}) diverged, a loss "
            "or weight is NaN or infinite: lower the learning rate, or check the features for "
            "extreme values"
        )
        raise DivergedError(message)
    return curves
