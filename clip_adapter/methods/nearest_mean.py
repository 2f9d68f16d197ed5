"""Nearest class mean, blended with the text of the class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clip_adapter.errors import SettingsError
from clip_adapter.methods.grid_method import GridMethod, Point, Report, Trial
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import value_at

RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
DEFAULT_RATIOS = ((1, 0.1), (2, 0.2), (4, 0.4), (8, 0.5), (16, 0.6))
MOST_FOLDS = 16
"""A fit takes no training, so that more folds than four cost little."""


@dataclass(frozen=True, kw_only=True)
class NearestMean(GridMethod):
    """CLIP's rule with prototypes that lie between the text and the mean image of a class.

    `logit_scale * cos(f, r m_c + (1 - r) w_c)` with m_c the mean of the class's features of length 1
    and w_c its text prototype. A baseline that is older than CLIP.

    Attributes:
        image_ratios: candidates for the weight r of the mean image; at 0 it is zero-shot.
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.

    Raises:
        SettingsError: the grid is empty, or a ratio is not between 0 and 1.
    """

    name: ClassVar[str] = "nearest-mean"
    most_folds: ClassVar[int] = MOST_FOLDS

    image_ratios: tuple[float, ...] = RATIOS
    views: int = 0

    def __post_init__(self) -> None:
        if not self.image_ratios or any(not 0 <= ratio <= 1 for ratio in self.image_ratios):
            raise SettingsError(
                f"image_ratios is {self.image_ratios}; expected one or more numbers from 0 to 1"
            )
        check_count("views", self.views)

    def axes(self, task: FewShotTask) -> Mapping[str, Sequence[float]]:  # noqa: ARG002  # the same for all
        """Ratios."""
        return {"image_ratio": self.image_ratios}

    def defaults(self, task: FewShotTask) -> Point:
        """A ratio that grows with the shots."""
        return {"image_ratio": value_at(task.shots, DEFAULT_RATIOS)}

    def fit_together(
        self,
        trials: Sequence[Trial],
        *,
        device: str,  # noqa: ARG002  # computes on the CPU
        report: Report,
    ) -> Iterator[list[Fitted]]:
        """Blend means and text of each task."""
        from clip_adapter.methods.classifiers import PrototypeClassifier
        from clip_adapter.methods.fitting.class_moments import ClassMoments

        for trial in trials:
            task = trial.task
            means = ClassMoments.of_task(task, self.views).means
            fitted = []
            for point in trial.points:
                ratio = point["image_ratio"]
                prototypes = ratio * means + (1 - ratio) * task.class_prototypes
                classifier = PrototypeClassifier(
                    class_prototypes=prototypes.astype(np.float32),
                    logit_scale=task.logit_scale,
                    class_names=task.class_names,
                )
                fitted.append(Fitted(classifier=classifier, settings={"views": self.views}))
            yield fitted
            report(1)
