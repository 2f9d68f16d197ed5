"""Sums of features that ridge regression and Gaussian discriminants are computed from."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from clip_adapter.methods.task import FewShotTask
from clip_adapter.methods.tensors import float_tensor


def directions(task: FewShotTask, views: int = 0) -> Float[np.ndarray, "n d"]:
    """The training images or their views as features of length 1, in double precision."""
    rows = torch.nn.functional.normalize(float_tensor(task.training_rows(views)), dim=-1)
    return rows.double().numpy()


def one_hot(labels: Int[np.ndarray, " n"], n_classes: int) -> Float[np.ndarray, "n c"]:
    """1 in the column of an image's class, else 0."""
    members = np.zeros((len(labels), n_classes))
    members[np.arange(len(labels)), labels] = 1
    return members


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMoments:
    """Sufficient statistics of features of length 1: an image more or less is added or subtracted.

    `ridge_to_text.ridge_weights` and `gda.gaussian_weights` compute their classifiers from them.

    Attributes:
        counts: number of features of each class.
        sums: sum of the features of each class.
        gram: `F'F` of all features F.
    """

    counts: Float[np.ndarray, " c"]
    sums: Float[np.ndarray, "c d"]
    gram: Float[np.ndarray, "d d"]

    @classmethod
    def of(
        cls, rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], n_classes: int
    ) -> "ClassMoments":
        """The statistics of features and their class numbers."""
        members = one_hot(labels, n_classes)
        return cls(counts=members.sum(axis=0), sums=members.T @ rows, gram=rows.T @ rows)

    @classmethod
    def of_task(cls, task: FewShotTask, views: int = 0) -> "ClassMoments":
        """The statistics of a task's training images or their views."""
        labels = np.tile(task.train_labels, max(1, views))
        return cls.of(directions(task, views), labels, len(task.class_names))

    @property
    def means(self) -> Float[np.ndarray, "c d"]:
        """Mean feature of each class."""
        means: Float[np.ndarray, "c d"] = self.sums / self.counts[:, None]
        return means
