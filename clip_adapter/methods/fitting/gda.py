"""Gaussian discriminant analysis: class means and one covariance, no training."""

import time
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.gda import Gda
from clip_adapter.methods.method import Fitted, Progress
from clip_adapter.methods.selection import choose
from clip_adapter.methods.task import FewShotTask, require_validation
from clip_adapter.methods.tensors import float_tensor

NO_SCATTER = 1e-12
"""Features of length 1 that differ scatter more than this; equal ones by their rounding."""


def fit(method: Gda, tasks: Sequence[FewShotTask], *, progress: Progress | None) -> list[Fitted]:
    """What `Gda.fit` promises."""
    if len(method.alphas) > 1:
        require_validation(tasks)
    fitted = []
    for task in tasks:
        fitted.append(_fit(method, task))
        if progress is not None:
            progress(1 / len(tasks))
    return fitted


def _fit(method: Gda, task: FewShotTask) -> Fitted:
    start = time.perf_counter()
    rows = torch.nn.functional.normalize(float_tensor(task.training_rows(method.views)), dim=-1)
    labels = np.tile(task.train_labels, max(1, method.views))
    weight, bias = _gaussian(rows.double().numpy(), labels)
    text = task.logit_scale * task.class_prototypes
    classifiers = [
        LinearClassifier(
            weight=(text + alpha * weight).astype(np.float32),
            bias=(alpha * bias).astype(np.float32),
            class_names=task.class_names,
        )
        for alpha in method.alphas
    ]
    choice = choose(classifiers, task, [{"alpha": alpha} for alpha in method.alphas])
    return Fitted(
        classifier=classifiers[choice.number],
        settings={"alpha": method.alphas[choice.number], "views": method.views},
        selected_on=choice.selected_on,
        candidates=choice.candidates,
        seconds=time.perf_counter() - start,
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
