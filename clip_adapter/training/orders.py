"""In which order a training visits its images, and which view of each."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor


def visiting_orders(
    seeds: Sequence[int], *, n_images: int, views: int, epochs: int
) -> Iterator[Int[Tensor, "t n"]]:
    """For each epoch one order of the images a seed, on the word of the CPU's generator.

    Args:
        seeds: one a training set.
        n_images: of each set.
        views: augmented views an image; of several, each epoch draws one for every image.
        epochs: how many orders.

    Yields:
        Numbers of rows, where view v of image i is row `v * n_images + i`.
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
    """How many steps an epoch takes."""
    return math.ceil(n_images / batch_size)
