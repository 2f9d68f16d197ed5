"""Many independent adapters in one tensor program."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import StackedAdapters, logits
from clip_adapter.training.by_hand import AdapterGroup, bytes_of_an_adapter
from clip_adapter.training.descent import check_finite, descend
from clip_adapter.training.groups import Report, groups_of, train_groups
from clip_adapter.training.momentum import is_scalable
from clip_adapter.training.rules import learning_rates
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import StackedData


def train_stack(
    adapters: StackedAdapters,
    data: StackedData,
    training: Training,
    *,
    progress: Callable[[int], None] | None = None,
) -> Float[Tensor, "e g"]:
    """Train every adapter of the stack in place and return its mean loss in each epoch.

    Each adapter visits its images in the order its set's seed gives and minimises its own mean
    cross-entropy, so that it ends where it would have ended alone (up to the rounding of a
    batched matrix product). Gradients are written out, in groups that fit into the cache
    (`AdapterGroup`); only an SGD that decays a weight by more than half in a step runs on
    autograd.

    Args:
        adapters: the stack, on the device of `data`; its weights change.
        data: what each adapter learns from.
        training: optimiser and schedule.
        progress: called after each epoch with the number of adapters that went through it.

    Raises:
        DivergedError: if a loss or weight is NaN or infinite after the last epoch, naming the
            adapter.
    """
    if training.optimizer != "sgd" or is_scalable(
        learning_rates(training, data.n_images),
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    ):
        return _train_by_hand(adapters, data, training, progress=progress)

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        return mean_losses(logits(adapters(features), data.prototypes, data.logit_scale), labels)

    return descend(list(adapters.parameters()), losses, training, sets=data, progress=progress)


def _train_by_hand(
    adapters: StackedAdapters,
    data: StackedData,
    training: Training,
    *,
    progress: Callable[[int], None] | None,
) -> Float[Tensor, "e g"]:
    def train(members: slice, after_epoch: Report) -> Float[Tensor, "e g"]:
        group = AdapterGroup(adapters, data, members=members, training=training)
        return group.train(after_epoch=after_epoch)

    groups = groups_of(
        len(data.set_of_adapter),
        adapter_bytes=bytes_of_an_adapter(adapters, data, training),
        device=data.features.device,
    )
    curves = train_groups(groups, train, progress=progress)
    return check_finite(curves, list(adapters.parameters()))


def mean_losses(scores: Float[Tensor, "g b c"], labels: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
    """Each model's mean cross-entropy over its batch."""
    losses = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), labels.flatten(), reduction="none"
    )
    return losses.view(labels.shape).mean(dim=1)
