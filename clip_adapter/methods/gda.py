"""Gaussian discriminant analysis: class means and one covariance, no training."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.methods.method import Fitted, PerTaskMethod
from clip_adapter.methods.selection import check_count, check_grid, choose
from clip_adapter.methods.task import FewShotTask

NO_SCATTER = 1e-12
"""Scatter of equal features of length 1, by rounding; features that differ scatter more."""


@dataclass(frozen=True, kw_only=True)
class Gda(PerTaskMethod):
    """The linear classifier of Gaussian classes with one covariance, added to zero-shot.

    `logit_scale * cos(f, w_c) + alpha * (f . v_c + b_c)` with f of length 1,
    `v_c = P mean_c`, `b_c = log(1 / c) - mean_c . P mean_c / 2` and the precision
    `P = d ((n - 1) S + tr(S) I)^-1` of the n features' deviations from their class's mean (Wang
    et al. 2024, https://arxiv.org/abs/2402.04087, section 3.1). With one feature a class nothing
    deviates: P is then `d I`, that of features spread over the whole sphere.

    Attributes:
        alphas: candidates for the weight of the Gaussian classifier, of which validation chooses.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: the grid is empty or a number below 0.
    """

    name: ClassVar[str] = "gda"

    alphas: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4)
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    @property
    def n_candidates(self) -> int:
        """Number of alphas."""
        return len(self.alphas)

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Compute means and covariance, then choose alpha."""
        import torch

        from clip_adapter.methods.classifiers import LinearClassifier
        from clip_adapter.methods.tensors import float_tensor

        rows = torch.nn.functional.normalize(float_tensor(task.training_rows(self.views)), dim=-1)
        labels = np.tile(task.train_labels, max(1, self.views))
        weight, bias = _gaussian(rows.double().numpy(), labels)
        text = task.logit_scale * task.class_prototypes
        classifiers = [
            LinearClassifier(
                weight=(text + alpha * weight).astype(np.float32),
                bias=(alpha * bias).astype(np.float32),
                class_names=task.class_names,
            )
            for alpha in self.alphas
        ]
        choice = choose(classifiers, task, [{"alpha": alpha} for alpha in self.alphas])
        return Fitted(
            classifier=classifiers[choice.number],
            settings={"alpha": self.alphas[choice.number], "views": self.views},
            selected_on=choice.selected_on,
            candidates=choice.candidates,
        )


def _gaussian(
    rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """Weight and bias of the Gaussian classifier; every label up to the largest occurs."""
    counts = np.bincount(labels)
    members = np.zeros((len(counts), len(rows)))
    members[labels, np.arange(len(rows))] = 1 / counts[labels]
    means = members @ rows
    weight = _times_precision(means, rows - means[labels])
    bias = -np.log(len(means)) - (means * weight).sum(axis=1) / 2
    return weight, bias


def _times_precision(
    means: Float[np.ndarray, "c d"], deviations: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "c d"]:
    width = means.shape[1]
    scatter = deviations.T @ deviations
    total = np.trace(scatter)
    if total <= NO_SCATTER:
        unknown: Float[np.ndarray, "c d"] = width * means
        return unknown
    shrunk = scatter + total / (len(deviations) - 1) * np.eye(width)
    product: Float[np.ndarray, "c d"] = width * np.linalg.solve(shrunk, means.T).T
    return product
