"""Prediction sets by split conformal prediction: classes among which the true one is, as often as asked for."""

from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from clip_adapter.errors import DataError, ParameterError
from clip_adapter.methods.method import Fitted
from clip_adapter.methods.task import FewShotTask

CalibratedOn = Literal["validation", "held-out shots"]
UNLIKE = 0.1
"""Fraction of the allowed errors that goes to images which are unlike every class."""
ROUNDING = 1e-9
"""What (n + 1) times a decimal fraction may miss in binary."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """How a classifier scores labelled images that it was not fitted to, for prediction sets.

    An image is unlike every class if its highest cosine with a class prototype, its similarity, is below a
    low quantile of those of the calibration (a tenth of the allowed errors); its set is empty. Otherwise
    the set has the classes whose probability is at least a threshold, and can be empty too. With n
    images and a coverage c, the threshold is the `floor((n + 1) (1 - c))`-th lowest probability of the
    true class, where images of the calibration at or below that quantile count as lowest. If the
    n images and the one that is classified are exchangeable, its set has the true class with probability c
    or more (Vovk et al. 2005; Sadinle et al. 2019, https://arxiv.org/abs/1609.00451, for this score).

    Attributes:
        label_probabilities: probability of the true class of each image after the temperature, ascending.
        similarities: highest cosine of the image with a class prototype, in the same order.
        class_prototypes: text feature of length 1 of each class, in the order of the logits.
        images: "validation" for validation images, scored by the classifier itself; "held-out shots" for training
            images, scored by classifiers that were fitted without them, to fewer images.
    """

    label_probabilities: Float[np.ndarray, " m"]
    similarities: Float[np.ndarray, " m"]
    class_prototypes: Float[np.ndarray, "c d"]
    images: CalibratedOn

    @classmethod
    def of(
        cls,
        probabilities: Float[np.ndarray, "m c"],
        labels: Int[np.ndarray, " m"],
        *,
        features: Float[np.ndarray, "m d"],
        class_prototypes: Float[np.ndarray, "c d"],
        images: CalibratedOn,
    ) -> "Calibration":
        """Calibrate on labelled images, in any order.

        Args:
            probabilities: softmax of the images' logits after the temperature.
            labels: class numbers of the images.
            features: raw features of the images.
            class_prototypes: text feature of length 1 of each class, in the order of the logits.
            images: what the images are.
        """
        of_labels = probabilities[np.arange(len(labels)), labels].astype(np.float32)
        prototypes = class_prototypes.astype(np.float32)
        order = np.argsort(of_labels, kind="stable")
        return cls(
            label_probabilities=of_labels[order],
            similarities=similarities(features, prototypes)[order],
            class_prototypes=prototypes,
            images=images,
        )

    def sets(
        self,
        probabilities: Float[np.ndarray, "n c"],
        features: Float[np.ndarray, "n d"],
        *,
        coverage: float,
    ) -> Bool[np.ndarray, "n c"]:
        """Mark the classes of each image's prediction set; no class is "none of these".

        Args:
            probabilities: softmax of the logits after the temperature.
            features: raw features of the same images.
            coverage: probability that the set has the true class, above 0 and below 1.

        Raises:
            ParameterError: the coverage is out of range.
            DataError: there are too few images for it.
        """
        probability, similarity = self.thresholds(coverage)
        is_like = similarities(features, self.class_prototypes) >= similarity
        found: Bool[np.ndarray, "n c"] = (probabilities >= probability) & is_like[:, None]
        return found

    @property
    def images_in_words(self) -> str:
        """The images as a message names them."""
        return "validation images" if self.images == "validation" else self.images

    def thresholds(self, coverage: float) -> tuple[float, float]:
        """The lowest probability of a class in a set, and the lowest similarity of an image with one.

        Args:
            coverage: probability that the set has the true class, above 0 and below 1.

        Returns:
            Both numbers; minus infinity where every class or image passes.

        Raises:
            ParameterError: the coverage is out of range.
            DataError: there are too few images for it.
        """
        if not 0 < coverage < 1:
            raise ParameterError(f"coverage is {coverage!r}: expected a number above 0 and below 1")
        n, error = len(self.label_probabilities), 1 - coverage
        n_errors = min(n, allowed_errors(n, error))
        if n_errors < 1:
            least = ceil(1 / error - ROUNDING) - 1
            raise DataError(
                f"a coverage of {coverage:g} takes {least:,} {self.images_in_words} or more, and the classifier "
                f"has {n:,}: ask for {floor(1000 * n / (n + 1)) / 1000:g} or less, or train with more"
            )
        n_unlike = allowed_errors(n, error * UNLIKE)
        similarity = float(np.sort(self.similarities)[n_unlike - 1]) if n_unlike else -np.inf
        # The image that is classified is one of n + 1, of which as many are unlike every class.
        scores = np.where(self.similarities > similarity, self.label_probabilities, -np.inf)
        return float(np.sort(scores)[n_errors - 1]), similarity


def calibration_of(
    fitted: Fitted, task: FewShotTask, *, temperature: float | None
) -> Calibration | None:
    """Calibrate prediction sets on the validation images of a task, else on its held-out shots.

    Args:
        fitted: classifier that was fitted to the task.
        task: its arrays; no test image is among them.
        temperature: number by which logits are divided; None for 1.

    Returns:
        The calibration; None where there are neither validation images nor held-out shots.
    """
    from scipy.special import softmax

    held_out = fitted.held_out
    images: CalibratedOn
    if len(task.val_labels):
        images, features, labels = "validation", task.val_features, task.val_labels
        logits = fitted.classifier.logits(features)
    elif held_out is not None and held_out.rows:
        images, logits, labels = "held-out shots", held_out.logits, held_out.labels
        features = task.train_features[np.concatenate(held_out.rows)]
    else:
        return None
    return Calibration.of(
        softmax(logits.astype(np.float64) / (temperature or 1.0), axis=1),
        labels,
        features=features,
        class_prototypes=task.class_prototypes,
        images=images,
    )


def similarities(
    features: Float[np.ndarray, "n d"], class_prototypes: Float[np.ndarray, "c d"]
) -> Float[np.ndarray, " n"]:
    """The highest cosine of each raw feature with a prototype of length 1, which zero-shot classifies by."""
    wide = features.astype(np.float64)
    norms = np.maximum(np.linalg.norm(wide, axis=1), np.finfo(np.float64).tiny)
    found: Float[np.ndarray, " n"] = (wide @ class_prototypes.T).max(axis=1) / norms
    return found.astype(np.float32)


def allowed_errors(n_images: int, error: float) -> int:
    """`floor((n + 1) error)`: how many of n images and a further one may be wrong.

    Args:
        n_images: number of images of the calibration.
        error: one minus the coverage.
    """
    return int((n_images + 1) * error + ROUNDING)
