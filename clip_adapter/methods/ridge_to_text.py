"""Ridge regression of what the text leaves unexplained: closed form, linear."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.fitting.class_moments import ClassMoments
from clip_adapter.methods.grid_method import Point
from clip_adapter.methods.moments_method import MomentsMethod
from clip_adapter.methods.selection import check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import value_at

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SMALLEST_PENALTY = 1e-6
"""Below, few images determine no weights."""
DEFAULT_PENALTIES = ((8, 10.0), (16, 0.1))
MOST_FOLDS = 16
"""A fit takes no training, so that more folds than four cost little."""


@dataclass(frozen=True, kw_only=True)
class RidgeToText(MomentsMethod):
    """ProKeR with a linear kernel: ridge regression of the labels, shrunk towards zero-shot.

    `logit_scale * f . (w_c + b_c)` with f of length 1 and `B = (F'F + l I)^-1 F'(Y - F W')`, where F
    are the training images, Y their labels in one-hot form and W the class prototypes (kernel ridge
    regression as in Bendou et al. 2025, https://arxiv.org/abs/2501.11175, without their factor l).

    Attributes:
        penalties: candidates for the penalty l.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: the grid is empty or a penalty below 1e-6.
    """

    name: ClassVar[str] = "ridge-to-text"
    most_folds: ClassVar[int] = MOST_FOLDS

    penalties: tuple[float, ...] = PENALTIES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_grid("penalties", self.penalties, at_least=SMALLEST_PENALTY)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Penalties."""
        return {"penalty": self.penalties}

    def defaults(self, task: FewShotTask) -> Point:
        """At few shots a penalty that makes images count little."""
        return {"penalty": value_at(task.shots, DEFAULT_PENALTIES)}

    def weights(
        self,
        moments: ClassMoments,
        text: Float[np.ndarray, "c d"],
        *,
        logit_scale: float,
        points: Sequence[Point],
    ) -> Iterator[tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]]:
        """Solve for all penalties by the eigenvectors of `F'F`."""
        penalties = [point["penalty"] for point in points]
        for weight in ridge_weights(moments.gram, moments.sums, text, penalties):
            yield logit_scale * weight, np.zeros(len(text))


def ridge_weights(
    gram: Float[np.ndarray, "d d"],
    sums: Float[np.ndarray, "c d"],
    text: Float[np.ndarray, "c d"],
    penalties: Sequence[float],
) -> Iterator[Float[np.ndarray, "c d"]]:
    """The weights `W + B'` for each penalty, from the sufficient statistics `F'F` and `Y'F`.

    Args:
        gram: `F'F` of the features F.
        sums: sum of the features of each class.
        text: class prototypes W of length 1.
        penalties: penalties above 0.
    """
    eigenvalues, vectors = np.linalg.eigh(gram)
    unexplained = (sums - text @ gram) @ vectors
    for penalty in penalties:
        yield text + unexplained / (eigenvalues + penalty) @ vectors.T
