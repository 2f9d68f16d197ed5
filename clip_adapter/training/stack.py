"""Many independent adapters in one tensor program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.adapters import StackedAdapters, logits
from clip_adapter.training.descent import descend
from clip_adapter.training.settings import Training

__all__ = ["StackedData", "mean_losses", "train_stack"]


@dataclass(frozen=True, kw_only=True)
class StackedData:
    """T few-shot training sets of equal size, and which of them each of G adapters learns from.

    Attributes:
        features: raw image features, view after view where there are several.
        labels: class numbers of the images, in the order of each view.
        prototypes: one text feature a class, shared by all adapters.
        logit_scale: CLIP's inverse temperature.
        set_of_adapter: for each adapter the number of its training set.
        seeds: one a training set; it fixes the order in which the images are visited.
    """

    features: Float[Tensor, "t rows d"]
    labels: Int[Tensor, "t n"]
    prototypes: Float[Tensor, "c d"]
    logit_scale: float
    set_of_adapter: Int[Tensor, " g"]
    seeds: Sequence[int]

    @property
    def n_images(self) -> int:
        """Images of each set."""
        return self.labels.shape[1]

    @property
    def views(self) -> int:
        """Rows of features an image."""
        return self.features.shape[1] // self.n_images

    def batch(self, rows: Int[Tensor, "t b"]) -> tuple[Float[Tensor, "g b d"], Int[Tensor, "g b"]]:
        """The features and labels of some rows, for each adapter those of its set."""
        rows = rows.to(self.features.device)
        sets = torch.arange(len(self.seeds), device=rows.device)[:, None]
        features = self.features[sets, rows][self.set_of_adapter]
        return features, self.labels[sets, rows % self.n_images][self.set_of_adapter]


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
    batched matrix product).

    Args:
        adapters: the stack, on the device of `data`; its weights change.
        data: what each adapter learns from.
        training: optimiser and schedule.
        progress: called after each epoch with the number of adapters that went through it.

    Raises:
        DivergedError: if a loss or weight is NaN or infinite after the last epoch, naming the
            adapter.
    """

    def losses(rows: Int[Tensor, "t b"]) -> Float[Tensor, " g"]:
        features, labels = data.batch(rows)
        return mean_losses(logits(adapters(features), data.prototypes, data.logit_scale), labels)

    return descend(
        list(adapters.parameters()),
        losses,
        training,
        seeds=data.seeds,
        n_images=data.n_images,
        views=data.views,
        progress=progress,
    )


def mean_losses(scores: Float[Tensor, "g b c"], labels: Int[Tensor, "g b"]) -> Float[Tensor, " g"]:
    """Each model's mean cross-entropy over its batch."""
    losses = torch.nn.functional.cross_entropy(
        scores.flatten(0, 1), labels.flatten(), reduction="none"
    )
    return losses.view(labels.shape).mean(dim=1)
