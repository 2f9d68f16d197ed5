"""Random few-shot tasks with the geometry of CLIP's features, and adapters not yet trained."""

from dataclasses import dataclass

import torch
from torch import Tensor

from clip_adapter.adapters import ResidualAdapter
from clip_adapter.training import Training

LOGIT_SCALE = 100.0
NORM = 10.0


@dataclass(frozen=True, kw_only=True)
class FewShotImages:
    """Raw features, so many of every class, and the text features of the classes.

    Attributes:
        features: `[n d]`, two of them at a cosine of about 0.8.
        labels: `[n]`, class after class, over and over.
        prototypes: `[c d]`, unit length.
    """

    features: Tensor
    labels: Tensor
    prototypes: Tensor


def random_images(seed: int, *, width: int, classes: int, images: int) -> FewShotImages:
    """Images of a seed; classes and what all images share are the same for every seed."""
    fixed = torch.Generator().manual_seed(0)
    shared = torch.nn.functional.normalize(torch.randn(width, generator=fixed), dim=0)
    directions = torch.randn(classes, width, generator=fixed) / width**0.5
    own = torch.Generator().manual_seed(seed + 1)
    labels = torch.arange(images).remainder(classes)
    noise = torch.randn(images, width, generator=own) / width**0.5
    features = 2 * shared + 0.3 * directions[labels] + 0.95 * noise
    return FewShotImages(
        features=NORM * torch.nn.functional.normalize(features, dim=1),
        labels=labels,
        prototypes=torch.nn.functional.normalize(shared + 0.5 * directions, dim=1),
    )


def initial_adapter(seed: int, *, width: int, residual_ratio: float) -> ResidualAdapter:
    """Every ratio of a seed begins alike."""
    torch.manual_seed(seed)
    return ResidualAdapter(width, residual_ratio=residual_ratio)


def paper_training(epochs: int) -> Training:
    """As CoOp's trainer has it: SGD, a warm-up epoch, then a cosine, batches of 32."""
    return Training(
        recipe="paper",
        optimizer="sgd",
        epochs=epochs,
        batch_size=32,
        learning_rate=2e-3,
        weight_decay=5e-4,
        momentum=0.9,
        warmup_epochs=1,
        schedule="epochs",
    )
