"""The base class of methods whose linear classifier is a function of the class moments alone."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.fitting.class_moments import ClassMoments
from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count


@dataclass(frozen=True, kw_only=True)
class MomentsMethod(GridMethod):
    """A method that fits a linear classifier to counts, sums of features and `F'F`.

    An image more or less changes these sums by its own feature, so that the classifier follows from the sums
    without the other images (`clip_adapter.update`).

    Attributes:
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: there are fewer than 0 views.
    """

    views: int = 0

    def __post_init__(self) -> None:
        check_count("views", self.views)

    @abstractmethod
    def weights(
        self,
        moments: ClassMoments,
        text: Float[np.ndarray, "c d"],
        *,
        logit_scale: float,
        points: Sequence[Point],
    ) -> Iterator[tuple[Float[np.ndarray, "c d"], Float[np.ndarray, " c"]]]:
        """Weights and biases of the classifier at each point, in double precision.

        Args:
            moments: statistics of the training features.
            text: class prototypes of length 1.
            logit_scale: CLIP's inverse temperature.
            points: points of the grid.
        """

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Sum up the features of each task, and compute the classifier of each point."""
        from clip_adapter.methods.classifiers import LinearClassifier

        for trial in trials:
            task = trial.task
            found = self.weights(
                ClassMoments.of_task(task, self.views),
                task.class_prototypes.astype(np.float64),
                logit_scale=task.logit_scale,
                points=trial.points,
            )
            yield [
                Fitted(
                    classifier=LinearClassifier(
                        weight=weight.astype(np.float32),
                        bias=bias.astype(np.float32),
                        class_names=task.class_names,
                    ),
                    settings={"views": self.views},
                )
                for weight, bias in found
            ]
            report(1)
