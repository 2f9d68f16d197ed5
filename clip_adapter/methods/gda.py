"""Gaussian discriminant analysis: class means and one covariance, no training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count, check_grid
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
class Gda(GridMethod):
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
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("alphas", self.alphas, at_least=0.0)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Alphas."""
        return {"alpha": self.alphas}

    def defaults(self, task: FewShotTask) -> Point:
        """A weight that grows with the shots."""
        return {"alpha": value_at(task.shots, DEFAULT_ALPHAS)}

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Compute the means and covariance of each task."""
        from clip_adapter.methods.classifiers import LinearClassifier
        from clip_adapter.methods.fitting.class_moments import ClassMoments

        for trial in trials:
            task = trial.task
            moments = ClassMoments.of_task(task, self.views)
            weight, bias = gaussian_weights(moments.counts, moments.sums, moments.gram)
            text = task.logit_scale * task.class_prototypes
            fitted = []
            for point in trial.points:
                alpha = point["alpha"]
                classifier = LinearClassifier(
                    weight=(text + alpha * weight).astype(np.float32),
                    bias=(alpha * bias).astype(np.float32),
                    class_names=task.class_names,
                )
                fitted.append(Fitted(classifier=classifier, settings={"views": self.views}))
            yield fitted
            report(1)


def gaussian_weights(
    counts: Float[np.ndarray, " c"], sums: Float[np.ndarray, "c d"], gram: Float[np.ndarray, "d d"]
) -> tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]:
    """Weight and bias of the Gaussian classifier, from the sufficient statistics of its features.

    Args:
        counts: number of features of each class, above 0.
        sums: sum of the features of each class.
        gram: `F'F` of all features F of length 1.
    """
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
