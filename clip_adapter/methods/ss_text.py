"""SS-Text and SS-Text+: prototypes of text and images in closed form, without any choice."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from clip_adapter.methods.method import Fitted, PerTaskMethod
from clip_adapter.methods.selection import check_count
from clip_adapter.methods.task import FewShotTask

SMALLEST_PENALTY = 1e-3
"""The authors' bound on the penalty of a class, which is reached at 1,000 images."""


@dataclass(frozen=True, kw_only=True)
class SsText(PerTaskMethod):
    """Prototypes that are pulled from the text of a class towards the sum of its images.

    `logit_scale * cos(f, v_c)`, `v_c = w_c + logit_scale / (n l_c) * sum_{i in c} f_i` with the n
    training images f of length 1 and the penalty `l_c = 1 / n_c` of a class of n_c images (Silva-Rodriguez
    et al. 2025, https://github.com/jusiro/SS-Text). Nothing is chosen or trained.

    Attributes:
        views: augmented views of each training image, each a feature of its own; 0 for the image
            itself.
    """

    name: ClassVar[str] = "ss-text"

    views: int = 0

    def __post_init__(self) -> None:
        check_count("views", self.views)

    def fit_task(self, task: FewShotTask) -> Fitted:
        """Compute the prototypes."""
        from clip_adapter.methods.classifiers import PrototypeClassifier

        classifier = PrototypeClassifier(
            class_prototypes=self.prototypes(task).astype(np.float32),
            logit_scale=task.logit_scale,
            class_names=task.class_names,
        )
        return Fitted(classifier=classifier, settings={"views": self.views})

    def prototypes(self, task: FewShotTask) -> Float[np.ndarray, "c d"]:
        """The prototypes v."""
        from clip_adapter.methods.fitting.class_moments import ClassMoments

        moments = ClassMoments.of_task(task, self.views)
        counts = moments.counts / max(1, self.views)  # views of one image are one image
        penalties = np.maximum(1 / counts, SMALLEST_PENALTY)
        pull = task.logit_scale / (moments.counts.sum() * penalties)
        prototypes: Float[np.ndarray, "c d"] = task.class_prototypes + pull[:, None] * moments.sums
        return prototypes


@dataclass(frozen=True, kw_only=True)
class SsTextPlus(SsText):
    """SS-Text whose prototypes are set apart from the mean of all.

    `v_c - u(2 v_c - mean v)` with u scaling to length 1 in place of v_c, as in the authors' program
    (Silva-Rodriguez et al. 2025, https://github.com/jusiro/SS-Text).
    """

    name: ClassVar[str] = "ss-text+"

    def prototypes(self, task: FewShotTask) -> Float[np.ndarray, "c d"]:
        """The prototypes, set apart."""
        found = super().prototypes(task)
        apart = 2 * found - found.mean(axis=0)
        set_apart: Float[np.ndarray, "c d"] = found - apart / np.linalg.norm(
            apart, axis=1, keepdims=True
        )
        return set_apart
