"""Tasks of one shape as tensors for one tensor program."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor


@dataclass(frozen=True, kw_only=True)
class StackedTasks:
    """Tasks of one shape, stacked, with every feature scaled to length 1.

    Attributes:
        directions: features of the training images, view after view where there are several.
        labels: class numbers of the images, in the order of each view.
        prototypes: one text feature a class.
        logit_scale: CLIP's inverse temperature.
        seeds: one seed a task.
        views: augmented views of each image; 0 for the image itself.
    """

    directions: Float[Tensor, "t rows d"]
    labels: Int[Tensor, "t n"]
    prototypes: Float[Tensor, "t c d"]
    logit_scale: float
    seeds: list[int]
    views: int

    @classmethod
    def of(
        cls, tasks: Sequence[FewShotTask], *, views: int = 0, device: str = "cpu"
    ) -> "StackedTasks":
        """Stack the arrays of tasks of one shape.

        Raises:
            DataError: a task has fewer views.
        """
        rows = float_tensor(np.stack([task.training_rows(views) for task in tasks]))
        labels = np.stack([task.train_labels for task in tasks]).astype(np.int64)
        prototypes = float_tensor(np.stack([task.class_prototypes for task in tasks]))
        return cls(
            directions=torch.nn.functional.normalize(rows, dim=-1).to(device),
            labels=torch.from_numpy(labels).to(device),
            prototypes=prototypes.to(device),
            logit_scale=tasks[0].logit_scale,
            seeds=[task.seed for task in tasks],
            views=views,
        )

    @property
    def n_images(self) -> int:
        """Number of images of each task."""
        return self.labels.shape[1]

    def batch(self, rows: Int[Tensor, "t b"]) -> tuple[Float[Tensor, "t b d"], Int[Tensor, "t b"]]:
        """Features and labels of some rows of each task."""
        rows = rows.to(self.labels.device)
        each = torch.arange(len(rows), device=rows.device)[:, None]
        return self.directions[each, rows], self.labels[each, rows % self.n_images]
