"""ProKeR: kernel ridge regression of what the text leaves unexplained, in closed form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.errors import SettingsError
from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.ridge_to_text import MOST_FOLDS, SMALLEST_PENALTY
from clip_adapter.methods.selection import check_count, check_grid
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import value_at

BETAS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
PENALTIES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
DEFAULT_BETAS = ((4, 2.0), (16, 3.0))
DEFAULT_PENALTIES = ((4, 20.0), (16, 0.1))


@dataclass(frozen=True, kw_only=True)
class ProKeR(GridMethod):
    """Kernel ridge regression of the labels, shrunk towards zero-shot.

    `logit_scale * (f . w_c + k(f, F) a_c)` with f of length 1, `A = (K + l I)^-1 (Y - F W')`,
    `k(f, g) = exp(-beta (1 - f . g))`, K the kernel of the training images F among each other, Y their
    labels in one-hot form and W the class prototypes (Bendou et al. 2025,
    https://arxiv.org/abs/2501.11175).

    Attributes:
        betas: candidates for the sharpness of the kernel.
        penalties: candidates for the penalty l.
        scaled: candidates for whether the regression is multiplied by l, as the authors' program has
            it: `A = (K / l + I)^-1 (Y - F W')`. False is ordinary kernel ridge regression.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: a grid is empty, a beta below 0 or a penalty below 1e-6.
    """

    name: ClassVar[str] = "proker"
    most_folds: ClassVar[int] = MOST_FOLDS

    betas: tuple[float, ...] = BETAS
    penalties: tuple[float, ...] = PENALTIES
    scaled: tuple[bool, ...] = (False, True)
    views: int = 0

    def __post_init__(self) -> None:
        check_grid("betas", self.betas, at_least=0.0)
        if not self.scaled:
            raise SettingsError("scaled is (); expected false, true or both")
        check_grid("penalties", self.penalties, at_least=SMALLEST_PENALTY)
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Betas, penalties, and whether the penalty scales the regression."""
        return {
            "beta": self.betas,
            "penalty": self.penalties,
            "scaled": [float(scaled) for scaled in self.scaled],
        }

    def defaults(self, task: FewShotTask) -> Point:
        """A wide kernel, and at few shots a penalty that makes images count little."""
        return {
            "beta": value_at(task.shots, DEFAULT_BETAS),
            "penalty": value_at(task.shots, DEFAULT_PENALTIES),
            "scaled": 0.0,
        }

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Solve each task, for all penalties of a beta by the eigenvectors of the kernel."""
        from clip_adapter.methods.classifiers import KernelClassifier
        from clip_adapter.methods.fitting.class_moments import directions, one_hot

        for trial in trials:
            task = trial.task
            keys = directions(task, self.views)
            labels = np.tile(task.train_labels, max(1, self.views))
            unexplained = one_hot(labels, len(task.class_names)) - keys @ task.class_prototypes.T
            coefficients = kernel_coefficients(keys, unexplained, trial.points)
            single = keys.astype(np.float32)
            yield [
                Fitted(
                    classifier=KernelClassifier(
                        keys=single,
                        values=(
                            task.logit_scale * (point["penalty"] if point["scaled"] else 1) * values
                        ).astype(np.float32),
                        beta=point["beta"],
                        class_prototypes=task.class_prototypes,
                        logit_scale=task.logit_scale,
                        class_names=task.class_names,
                    ),
                    settings={"views": self.views},
                )
                for point, values in zip(trial.points, coefficients, strict=True)
            ]
            report(1)


def kernel_coefficients(
    keys: Float[np.ndarray, "n d"],
    unexplained: Float[np.ndarray, "n c"],
    points: Sequence[Point],
) -> Iterator[Float[np.ndarray, "n c"]]:
    """`(K + l I)^-1 R` at each point; neighbours of equal beta share the eigenvectors of K."""
    cosines = keys @ keys.T
    for beta, group in groupby(points, key=lambda point: point["beta"]):
        eigenvalues, vectors = np.linalg.eigh(np.exp(-beta * (1 - cosines)))
        projected = vectors.T @ unexplained
        for point in group:
            yield vectors @ (projected / (eigenvalues + point["penalty"])[:, None])
