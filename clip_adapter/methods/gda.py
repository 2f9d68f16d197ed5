"""Gaussian discriminant analysis: class means and one covariance, no training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask

NO_SCATTER = 1e-12
"""Scatter of equal features of length 1, by rounding; features that differ scatter more."""
IMAGES_AT_ONCE = 1024
"""Images of which one is left out at a time, in one block of arrays."""


@dataclass(frozen=True, kw_only=True)
class Gda(GridMethod):
    """The linear classifier of Gaussian classes with one covariance, added to zero-shot.

    `logit_scale * cos(f, w_c) + alpha * (f . v_c + b_c)` with f of length 1,
    `v_c = P mean_c`, `b_c = log(1 / c) - mean_c . P mean_c / 2` and the precision
    `P = d ((n - 1) S + tr(S) I)^-1` of the n features' deviations from their class's mean (Wang
    et al. 2024, https://arxiv.org/abs/2402.04087, section 3.1). With one feature a class nothing
    deviates: P is then `d I`, that of features spread over the whole sphere.

    Attributes:
        alphas: candidates for the weight of the Gaussian classifier.
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

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Alphas."""
        return {"alpha": self.alphas}

    def defaults(self, task: FewShotTask) -> Point:  # noqa: ARG002  # the same for all
        """Equal weights of text and images."""
        return {"alpha": 1.0}

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Compute the means and covariance of each task."""
        from clip_adapter.methods.classifiers import LinearClassifier

        for trial in trials:
            task = trial.task
            rows, labels = _directions(task, self.views)
            weight, bias = _gaussian(rows, labels)
            text = task.logit_scale * task.class_prototypes
            fitted = []
            for point in trial.points:
                alpha = point["alpha"]
                classifier = LinearClassifier(
                    weight=(text + alpha * weight).astype(np.float32),
                    bias=(alpha * bias).astype(np.float32),
                    class_names=task.class_names,
                )
                settings = {"alpha": alpha, "views": self.views}
                fitted.append(Fitted(classifier=classifier, settings=settings))
            yield fitted
            report(1)

    def leave_one_out(self, task: FewShotTask) -> Iterator[Float[np.ndarray, "n c"]] | None:
        """Logits of each training image by the Gaussian classifier of the others, one array a point.

        None with views, which leave a class's scatter by more than one image at a time.
        """
        if self.views:
            return None
        rows, labels = _directions(task, 0)
        text = task.logit_scale * rows @ task.class_prototypes.T
        gaussian = _leave_one_out(rows, labels)
        return ((text + alpha * gaussian).astype(np.float32) for alpha in self.alphas)


def _directions(
    task: FewShotTask, views: int
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """The directions of the training images or their views in double precision, and their labels."""
    import torch

    from clip_adapter.methods.tensors import float_tensor

    rows = torch.nn.functional.normalize(float_tensor(task.training_rows(views)), dim=-1)
    return rows.double().numpy(), np.tile(task.train_labels, max(1, views))


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


def _leave_one_out(
    rows: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n c"]:
    """Logits of each image by the Gaussian classifier of the other images.

    Without image i, whose class has m images and whose deviation from their mean is e, the class's mean
    moves by `-e / (m - 1)` and the scatter loses `m / (m - 1) e e'`. In the basis of the scatter's
    eigenvectors the ridge, which the trace determines, changes the diagonal, and the rank-one term
    follows by the Sherman-Morrison formula. An image that is alone in its class keeps it.
    """
    counts = np.bincount(labels)
    members = np.zeros((len(counts), len(rows)))
    members[labels, np.arange(len(rows))] = 1 / counts[labels]
    means = members @ rows
    deviations = rows - means[labels]
    eigenvalues, basis = np.linalg.eigh(deviations.T @ deviations)
    rows, means, deviations = rows @ basis, means @ basis, deviations @ basis
    others = np.maximum(counts[labels] - 1, 1)[:, None]
    moved = means[labels] - deviations / others
    lost = np.sqrt((others + 1) / others) * deviations
    n_blocks = -(-len(rows) // IMAGES_AT_ONCE)
    arrays = zip(
        *(np.array_split(each, n_blocks) for each in (rows, lost, moved, labels)), strict=True
    )
    return np.concatenate(
        [
            _scores_without(*block, means=means, eigenvalues=eigenvalues, n=len(rows))
            for block in arrays
        ]
    )


def _scores_without(  # noqa: PLR0913  # arrays in one basis
    rows: Float[np.ndarray, "b d"],
    lost: Float[np.ndarray, "b d"],
    moved: Float[np.ndarray, "b d"],
    labels: Int[np.ndarray, " b"],
    *,
    means: Float[np.ndarray, "c d"],
    eigenvalues: Float[np.ndarray, " d"],
    n: int,
) -> Float[np.ndarray, "b c"]:
    width, each = rows.shape[1], np.arange(len(rows))
    totals = np.maximum(eigenvalues.sum() - (lost**2).sum(axis=1), 0.0)
    known = totals > NO_SCATTER
    diagonal = eigenvalues + (totals / max(1, n - 2))[:, None]
    inverse = np.where(known[:, None], 1 / np.where(known[:, None], diagonal, 1), 1.0)
    along = np.where(known[:, None], inverse * lost, 0.0)
    stretch = 1 - (lost * along).sum(axis=1)

    def quadratic(of_row: np.ndarray, of_along: np.ndarray) -> np.ndarray:
        column = (slice(None),) + (None,) * (of_row.ndim - 1)
        result: np.ndarray = of_row + of_along / stretch[column]
        return result

    on_row, on_along = (rows * along).sum(axis=1), along @ means.T
    cosines = quadratic((rows * inverse) @ means.T, on_row[:, None] * on_along)
    squares = quadratic(inverse @ (means**2).T, on_along**2)
    own_along = (moved * along).sum(axis=1)
    cosines[each, labels] = quadratic((rows * inverse * moved).sum(axis=1), on_row * own_along)
    squares[each, labels] = quadratic((inverse * moved**2).sum(axis=1), own_along**2)
    scores: Float[np.ndarray, "b c"] = width * (cosines - squares / 2) - np.log(len(means))
    return scores
