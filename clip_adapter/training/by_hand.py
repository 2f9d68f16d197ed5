"""Training of some adapters, its gradients written out: nothing is recorded, hardly anything stored."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import StackedAdapters
from clip_adapter.training.down_projections import (
    DirectDown,
    DownProjection,
    GatheredBatch,
    SpannedDown,
)
from clip_adapter.training.momentum import ScaledStep
from clip_adapter.training.rules import rule_of, steps_for
from clip_adapter.training.settings import Training
from clip_adapter.training.stacked_data import StackedData, visiting_orders

SMALLEST_NORM = 1e-12
"""As in `torch.nn.functional.normalize`."""
_mask = torch.ops.aten.threshold_backward.grad_input  # gradients where the activation was above 0


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
        adapters: whose weights are trained.
        data: the training sets of the members.
        members: which of the adapters this is about, in a row.
        training: optimiser and schedule.
    """

    def __init__(
        self, adapters: StackedAdapters, data: StackedData, *, members: slice, training: Training
    ) -> None:
        self.data = data.part(members)
        self.training = training
        self.up = adapters.up.detach()[members]
        self.up_t = self.up.transpose(1, 2)
        self.up_rule = rule_of(self.up, training)
        self.ratios = self.up.new_tensor(adapters.residual_ratios[members]).view(-1, 1, 1)
        self.kept_ratios = 1.0 - self.ratios
        self.output_activation = adapters.output_activation
        directions = torch.nn.functional.normalize(data.prototypes, dim=-1)
        self.prototypes = data.logit_scale * directions
        self.down = _down_projection(adapters.down.detach()[members], self.data, training)
        self._buffers: dict[int, _Buffers] = {}

    @torch.no_grad()
    def train(self, *, after_epoch: Callable[[], None]) -> Float[Tensor, "e g"]:
        """Train all members and return the mean loss of each in every epoch."""
        data, epochs = self.data, self.training.epochs
        orders = visiting_orders(
            data.seeds, n_images=data.n_images, views=data.views, epochs=epochs
        )
        steps = steps_for(self.training, data.n_images)
        curves, weight = [], 1.0
        for order in orders:
            losses = []
            for batch in self._batches(order):
                step = next(steps)
                losses.append(self._step(batch, step).view(len(self.up), -1))
                weight = step.weight_after
            curves.append(torch.cat(losses, dim=1).mean(dim=1).neg())
            after_epoch()
        self.up.mul_(weight)
        self.down.finish(weight)
        return torch.stack(curves)

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
        """One step of every member; before it, the log-likelihood of each image's class."""
        buffers = self._buffers_for(batch.features.shape[1])
        self.up_rule.rescale(step)
        self.down.rescale(step)
        self._forward(batch, step, buffers)
        likelihoods = self._classify(batch, buffers)
        self._backward(buffers)
        gain = step.gain * step.weight
        self.up_rule.accumulate(buffers.hidden_t, buffers.blended, gain=gain)
        self.up_rule.advance(step)
        self.down.accumulate(batch, buffers.hidden_gradient, gain=gain)
        self.down.advance(step)
        return likelihoods

    def _forward(self, batch: GatheredBatch, step: ScaledStep, buffers: "_Buffers") -> None:
        """Blended features; `hidden` and `adapted` stay divided by the weights' scale."""
        self.down.hidden(batch, buffers.hidden)
        buffers.hidden.relu_()
        torch.bmm(buffers.hidden, self.up, out=buffers.adapted)
        if self.output_activation:
            buffers.adapted.relu_()
        torch.mul(batch.features, self.kept_ratios, out=buffers.blended)
        buffers.blended.addcmul_(buffers.adapted, self.ratios, value=step.weight**2)

    def _classify(self, batch: GatheredBatch, buffers: "_Buffers") -> Float[Tensor, "1 gb"]:
        """Log-likelihoods, and in place of the blended features their gradient times the ratio."""
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
        """Carry the gradient on to what the up- and the down-projection put out."""
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
    """What a step of so many images writes into, and views of it: making one takes time, too."""

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
    """What training one touches in every step: weights and what the optimiser keeps of them."""
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
    """The cheaper one: a step multiplies by as many numbers as there are rows, or twice the width.

    What Adam does to a gradient leaves the span of the rows.
    """
    if training.optimizer == "sgd" and data.features.shape[1] <= data.features.shape[2]:
        return SpannedDown(weights, data.features, data.set_of_adapter)
    return DirectDown(rule_of(weights, training))
