"""Few-shot training sets that many models learn from at once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


def visiting_orders(
    seeds: Sequence[int], *, n_images: int, views: int, epochs: int
) -> Iterator[Int[Tensor, "t n"]]:
    """For each epoch one order of the images a seed, drawn by the CPU's generator.

    Args:
        seeds: one a training set.
        n_images: images of each set.
        views: augmented views an image; of several, each epoch draws one for every image.
        epochs: number of orders.

    Yields:
        Row numbers, where view v of image i is row `v * n_images + i`.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for _ in range(epochs):
        yield torch.stack([_order(generator, n_images, views) for generator in generators])


def _order(generator: torch.Generator, n_images: int, views: int) -> Int[Tensor, " n"]:
    order = torch.randperm(n_images, generator=generator)
    if views > 1:
        order = order + n_images * torch.randint(views, (n_images,), generator=generator)
    return order


def steps_of(n_images: int, batch_size: int) -> int:
    """Number of steps of an epoch."""
    return math.ceil(n_images / batch_size)


@dataclass(frozen=True, kw_only=True)
class StackedData:
    """T few-shot training sets of equal size, and the set of each of G adapters.

    Attributes:
        features: raw image features, view after view where there are several.
        labels: class numbers of the images, in the order of each view.
        prototypes: one text feature a class, shared by all adapters.
        logit_scale: CLIP's inverse temperature.
        set_of_adapter: number of the training set of each adapter.
        seeds: one a training set; the seed determines the order in which images are visited.
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
        """Features and labels of some rows of each adapter's set."""
        rows = rows.to(self.features.device)
        sets = torch.arange(len(self.seeds), device=rows.device)[:, None]
        features = self.features[sets, rows][self.set_of_adapter]
        return features, self.labels[sets, rows % self.n_images][self.set_of_adapter]

    def part(self, members: slice) -> "StackedData":
        """The training sets of some of the adapters."""
        used, numbers = torch.unique(self.set_of_adapter[members], return_inverse=True)
        return StackedData(
            features=self.features[used],
            labels=self.labels[used],
            prototypes=self.prototypes,
            logit_scale=self.logit_scale,
            set_of_adapter=numbers,
            seeds=[self.seeds[number] for number in used.tolist()],
        )
