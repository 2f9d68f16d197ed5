"""Training of many adapters with gradients that are written out, instead of autograd."""

from collections.abc import Callable, Iterator, Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import StackedAdapters, logits
from clip_adapter.training.down_projections import (
    DenseDownProjection,
    DownProjection,
    GatheredBatch,
    GramDownProjection,
)
from clip_adapter.training.gradient_descent import check_finite, mean_losses, train_stacked
from clip_adapter.training.groups import Report, groups_of, train_groups
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import StackedData, visiting_orders
from clip_adapter.training.weight_updates import (
    ScaledStep,
    is_scalable,
    learning_rates,
    scaled_steps_of,
    weight_update_for,
)

SMALLEST_NORM = 1e-12
"""The least norm that `torch.nn.functional.normalize` divides by."""
_mask = torch.ops.aten.threshold_backward.grad_input  # zeroes gradients where a ReLU gave 0


def train_adapters(
    adapters: StackedAdapters,
    data: StackedData,
    training: Training,
    *,
    progress: Callable[[int], None] | None = None,
    checkpoints: Mapping[int, StackedAdapters] | None = None,
) -> Float[Tensor, "e g"]:
    """Train every adapter of the stack in place and return its mean loss in each epoch.

    Each adapter visits its images in the order its set's seed gives and minimises its own mean
    cross-entropy, so that it ends where it would have ended alone (up to the rounding of a
    batched matrix product). Gradients are written out, in groups that fit into the cache
    (`AdapterGroup`); only an SGD that decays a weight by more than half in a step runs on
    autograd.

    Args:
        adapters: the stack, on the device of `data`; its weights change.
        data: the training sets.
        training: optimiser and schedule.
        progress: called after each epoch with the number of adapters that went through it.
        checkpoints: by a number of epochs, a stack of the same shape that receives the weights after
            so many.

    Raises:
        SettingsError: if a loss or weight is NaN or infinite after the last epoch, naming the
            adapter.
    """
    checkpoints = checkpoints or {}
    if training.optimizer != "sgd" or is_scalable(
        learning_rates(training, data.n_images),
        momentum=training.momentum,
        weight_decay=training.weight_decay,
    ):
        return _train_in_groups(
            adapters, data, training, progress=progress, checkpoints=checkpoints
        )

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        return mean_losses(logits(adapters(features), data.prototypes, data.logit_scale), labels)

    def keep(epoch: int) -> None:
        if epoch in checkpoints:
            checkpoints[epoch].load_state_dict(adapters.state_dict())

    return train_stacked(
        list(adapters.parameters()),
        losses,
        training,
        sets=data,
        progress=progress,
        after_epoch=keep,
    )


def _train_in_groups(
    adapters: StackedAdapters,
    data: StackedData,
    training: Training,
    *,
    progress: Callable[[int], None] | None,
    checkpoints: Mapping[int, StackedAdapters],
) -> Float[Tensor, "e g"]:
    def train(members: slice, after_epoch: Report) -> Float[Tensor, "e g"]:
        group = AdapterGroup(adapters, data, members=members, training=training)
        return group.train(after_epoch=after_epoch, checkpoints=checkpoints)

    groups = groups_of(
        len(data.set_of_adapter),
        adapter_bytes=bytes_of_an_adapter(adapters, data, training),
        device=data.features.device,
    )
    curves = train_groups(groups, train, progress=progress)
    return check_finite(curves, list(adapters.parameters()))


class AdapterGroup:
    """G adapters of one shape, trained in place.

    With `h = ReLU(x D)`, `z = ReLU(h U)`, `f = a z + (1 - a) x`, unit prototypes W times the
    logit scale s and `logits = f (sW).T / |f|`, the gradient of the mean cross-entropy over b images is

        t = (softmax(logits) - one_hot) / (b |f|)
        df = t (sW) - (sum_c t_c logits_c) f / |f|
        dz = a df where z > 0,  dU = h.T dz,  dh = dz U.T where h > 0,  dD = x.T dh

    so that only three products a step are as wide as U. They are written into a few buffers that
    fit into the cache; the rest is elementwise.

    Args:
        adapters: the stack that the group is a part of; its weights change in place.
        data: the training sets of all adapters of the stack.
        members: the adapters of the group.
        training: optimiser and schedule.
    """

    def __init__(
        self, adapters: StackedAdapters, data: StackedData, *, members: slice, training: Training
    ) -> None:
        self.data = data.part(members)
        self.training = training
        self.members = members
        self.up = adapters.up.detach()[members]
        self.up_t = self.up.transpose(1, 2)
        self.up_update = weight_update_for(self.up, training)
        self.ratios = self.up.new_tensor(adapters.residual_ratios[members]).view(-1, 1, 1)
        self.kept_ratios = 1.0 - self.ratios
        self.output_activation = adapters.output_activation
        directions = torch.nn.functional.normalize(data.prototypes, dim=-1)
        self.prototypes = data.logit_scale * directions
        self.down_weights = adapters.down.detach()[members]
        self.down = _down_projection(self.down_weights, self.data, training)
        self._buffers: dict[int, _Buffers] = {}

    @torch.no_grad()
    def train(
        self,
        *,
        after_epoch: Callable[[], None],
        checkpoints: Mapping[int, StackedAdapters] | None = None,
    ) -> Float[Tensor, "e g"]:
        """Train all members and return the mean loss of each in every epoch.

        Args:
            after_epoch: called after each epoch.
            checkpoints: by a number of epochs, a stack of all adapters that receives the weights of
                the members after so many.
        """
        data, epochs = self.data, self.training.visited_epochs
        orders = visiting_orders(
            data.seeds, n_images=data.n_images, views=data.views, epochs=epochs
        )
        steps = scaled_steps_of(self.training, data.n_images)
        curves, weight, checkpoints = [], 1.0, checkpoints or {}
        for epoch, order in enumerate(orders, start=1):
            losses = []
            for batch in self._batches(order):
                step = next(steps)
                losses.append(self._step(batch, step).view(len(self.up), -1))
                weight = step.weight_after
            curves.append(torch.cat(losses, dim=1).mean(dim=1).neg())
            if epoch in checkpoints:
                checkpoints[epoch].up.detach()[self.members] = self.up * weight
                checkpoints[epoch].down.detach()[self.members] = self.down.trained(weight)
            after_epoch()
        self.up.mul_(weight)
        self.down_weights.copy_(self.down.trained(weight))
        return torch.stack(curves) if curves else self.up.new_zeros(0, len(self.up))

    def _batches(self, order: Int[Tensor, "t n"]) -> Iterator[GatheredBatch]:
        data = self.data
        n_rows, dim = data.features.shape[1:]
        order = order.to(data.features.device)[data.set_of_adapter]
        sets = data.set_of_adapter[:, None]
        labels = data.labels.flatten()[sets * data.n_images + order % data.n_images]
        own = order + torch.arange(len(order), device=order.device)[:, None] * n_rows
        features = data.features.flatten(0, 1)
        parts = ((order + sets * n_rows), own, labels)
        for part in zip(
            *(torch.split(each, self.training.batch_size, dim=1) for each in parts), strict=True
        ):
            rows, own_rows, numbers = (each.flatten() for each in part)
            yield GatheredBatch(
                rows=rows,
                own_rows=own_rows,
                features=features.index_select(0, rows).view(len(order), -1, dim),
                labels=numbers[None],
            )

    def _step(self, batch: GatheredBatch, step: ScaledStep) -> Float[Tensor, "1 gb"]:
        """Make one step of every member; returns the log-likelihood of each image before it."""
        buffers = self._buffers_for(batch.features.shape[1])
        self.up_update.rescale(step)
        self.down.rescale(step)
        self._forward(batch, step, buffers)
        likelihoods = self._classify(batch, buffers)
        self._backward(buffers)
        gain = step.gain * step.weight
        self.up_update.accumulate(buffers.hidden_t, buffers.blended, gain=gain)
        self.up_update.advance(step)
        self.down.accumulate(batch, buffers.hidden_gradient, gain=gain)
        self.down.advance(step)
        return likelihoods

    def _forward(self, batch: GatheredBatch, step: ScaledStep, buffers: "_Buffers") -> None:
        """Compute blended features; `hidden` and `adapted` stay divided by the weights' scale."""
        self.down.hidden(batch, buffers.hidden)
        buffers.hidden.relu_()
        torch.bmm(buffers.hidden, self.up, out=buffers.adapted)
        if self.output_activation:
            buffers.adapted.relu_()
        torch.mul(batch.features, self.kept_ratios, out=buffers.blended)
        buffers.blended.addcmul_(buffers.adapted, self.ratios, value=step.weight**2)

    def _classify(self, batch: GatheredBatch, buffers: "_Buffers") -> Float[Tensor, "1 gb"]:
        """Compute log-likelihoods; the blended features become their gradient times the ratio."""
        blended, errors, logs = buffers.blended_rows, buffers.errors, buffers.logs
        norms = torch.linalg.vector_norm(blended, dim=1, out=buffers.norms)
        norms.clamp_min_(SMALLEST_NORM)
        torch.mm(self.prototypes, buffers.blended_columns, out=errors).div_(norms)  # logits
        torch.log_softmax(errors, dim=0, out=logs)
        likelihoods = logs.gather(0, batch.labels)
        torch.exp(logs, out=errors).scatter_add_(0, batch.labels, buffers.minus_ones)
        errors.mul_(buffers.minus_shares / norms)
        # The errors of an image add up to 0, so logs of probabilities serve as well as logits.
        torch.sum(logs.mul_(errors), dim=0, out=buffers.radial).div_(norms)
        blended.mul_(buffers.radial_column).addmm_(buffers.errors_t, self.prototypes, alpha=-1)
        return likelihoods

    def _backward(self, buffers: "_Buffers") -> None:
        """Propagate the gradient to the outputs of the up- and the down-projection."""
        up_gradient, down_gradient = buffers.blended, buffers.hidden_gradient
        if self.output_activation:
            _mask(up_gradient, buffers.adapted, 0, grad_input=up_gradient)
        torch.bmm(up_gradient, self.up_t, out=down_gradient)
        _mask(down_gradient, buffers.hidden, 0, grad_input=down_gradient)

    def _buffers_for(self, images: int) -> "_Buffers":
        if images not in self._buffers:
            self._buffers[images] = _Buffers(self.up, self.prototypes, self.ratios, images=images)
        return self._buffers[images]


class _Buffers:
    """Memory that a step on some number of images writes into, and views of it."""

    def __init__(self, up: Tensor, prototypes: Tensor, ratios: Tensor, *, images: int) -> None:
        n_adapters, hidden, dim = up.shape
        columns = n_adapters * images
        self.hidden = up.new_empty(n_adapters, images, hidden)
        self.hidden_t = self.hidden.transpose(1, 2)
        self.hidden_gradient = torch.empty_like(self.hidden)
        self.adapted = up.new_empty(n_adapters, images, dim)
        self.blended = torch.empty_like(self.adapted)
        self.blended_rows = self.blended.view(columns, dim)
        self.blended_columns = self.blended_rows.T
        self.errors = up.new_empty(len(prototypes), columns)
        self.errors_t = self.errors.T
        self.logs = torch.empty_like(self.errors)
        self.norms = up.new_empty(columns)
        self.radial = torch.empty_like(self.norms)
        self.radial_column = self.radial[:, None]
        self.minus_ones = up.new_full((1, columns), -1.0)
        self.minus_shares = (-ratios / images).expand(-1, images, -1).flatten()


def bytes_of_an_adapter(adapters: StackedAdapters, data: StackedData, training: Training) -> int:
    """Bytes that a step touches for each adapter: weights and the optimiser's state."""
    _, dim, hidden = adapters.down.shape
    rows, matrix = data.features.shape[1], dim * hidden
    if training.optimizer != "sgd":
        numbers = 8 * matrix  # of either matrix the weights, the gradient and its two moments
    else:
        numbers = 2 * matrix + (3 * rows * hidden if rows <= dim else 2 * matrix)
    return numbers * adapters.up.element_size()


def _down_projection(
    weights: Float[Tensor, "g d h"], data: StackedData, training: Training
) -> DownProjection:
    """Choose the cheaper one: by Gram matrix if there are fewer rows than features are wide.

    Adam's steps leave the span of the rows, so that it needs the dense one.
    """
    if training.optimizer == "sgd" and data.features.shape[1] <= data.features.shape[2]:
        return GramDownProjection(weights, data.features, data.set_of_adapter)
    return DenseDownProjection(weight_update_for(weights, training))
