"""Gaussian discriminant analysis: class means and one covariance, no training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import DataError
from clip_adapter.methods.fitting.class_moments import ClassMoments
from clip_adapter.methods.grid_method import Point
from clip_adapter.methods.moments_method import MomentsMethod
from clip_adapter.methods.selection import check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import value_at

NO_SCATTER = 1e-12
"""Scatter of equal features of length 1, by rounding, for each feature; features that differ scatter more."""
UNKNOWN_SCATTER = 0.25
"""Scatter of a class's features of length 1 where each class has a single one: about that of CLIP's
features of photographs, so that a weight chosen where it is unknown serves where it is known."""
ALPHAS = (1e-3, 3e-3, 6e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
DEFAULT_ALPHAS = ((1, 0.003), (2, 0.006), (4, 0.03), (8, 0.3), (16, 10.0))
MOST_FOLDS = 16
"""A fit takes no training, so that more folds than four cost little."""


@dataclass(frozen=True, kw_only=True)
class Gda(MomentsMethod):
    """The linear classifier of Gaussian classes with one covariance, added to zero-shot.

    `logit_scale * cos(f, w_c) + alpha * (f . v_c + b_c)` with f of length 1,
    `v_c = P mean_c`, `b_c = log(1 / c) - mean_c . P mean_c / 2` and the precision
    `P = d ((n - 1) S + tr(S) I)^-1` of the n features' deviations from their class's mean (Wang
    et al. 2024, https://arxiv.org/abs/2402.04087, section 3.1). With one feature a class nothing
    deviates: P is then `4 d I`, that of features whose squares of deviations add up to 1/4 on average.

    Attributes:
        alphas: candidates for the weight of the Gaussian classifier.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: the grid is empty or a number below 0.
    """

    name: ClassVar[str] = "gda"
    most_folds: ClassVar[int] = MOST_FOLDS

    alphas: tuple[float, ...] = ALPHAS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_grid("alphas", self.alphas, at_least=0.0)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Alphas."""
        return {"alpha": self.alphas}

    def defaults(self, task: FewShotTask) -> Point:
        """A weight that grows with the shots."""
        return {"alpha": value_at(task.shots, DEFAULT_ALPHAS)}

    def weights(
        self,
        moments: ClassMoments,
        text: Float[np.ndarray, "c d"],
        *,
        logit_scale: float,
        points: Sequence[Point],
    ) -> Iterator[tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]]:
        """Compute the means and the covariance, and add them to the text with each weight."""
        weight, bias = gaussian_weights(moments.counts, moments.sums, moments.gram)
        for point in points:
            alpha = point["alpha"]
            yield logit_scale * text + alpha * weight, alpha * bias


def gaussian_weights(
    counts: Float[np.ndarray, " c"], sums: Float[np.ndarray, "c d"], gram: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """Weight and bias of the Gaussian classifier, from the sufficient statistics of its features.

    Args:
        counts: number of features of each class, above 0.
        sums: sum of the features of each class.
        gram: `F'F` of all features F of length 1.

    Raises:
        DataError: a class has no feature, and so no mean.
    """
    if not counts.all():
        raise DataError(
            f"{int((counts == 0).sum())} of {len(counts)} classes have no feature, and so no mean: add one "
            "to each, or remove the class"
        )
    n_features, width = float(counts.sum()), sums.shape[1]
    means = sums / counts[:, None]
    scatter = gram - means.T @ sums
    total = np.trace(scatter)
    if total <= NO_SCATTER * n_features:
        weight = width / UNKNOWN_SCATTER * means
    else:
        shrunk = scatter + total / (n_features - 1) * np.eye(width)
        weight = width * np.linalg.solve(shrunk, means.T).T
    bias = -np.log(len(means)) - (means * weight).sum(axis=1) / 2
    return weight, bias
