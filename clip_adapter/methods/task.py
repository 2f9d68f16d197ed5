"""What a few-shot method may see: plain arrays, and nothing of the test split."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import ClipAdapterError

__all__ = ["FewShotTask", "TaskError", "require_validation"]


class TaskError(ClipAdapterError, ValueError):
    """Arrays that do not describe a few-shot task."""


@dataclass(frozen=True, kw_only=True)
class FewShotTask:
    """K labelled images a class, a few more to choose by, and the text side of CLIP.

    A task has no test images: a method cannot select on what it is not given.

    Attributes:
        train_features: raw image features (before normalisation).
        train_labels: class numbers, 0 to c - 1.
        val_features: raw image features that only choose hyper-parameters.
        val_labels: their class numbers.
        class_prototypes: one text feature a class.
        logit_scale: CLIP's inverse temperature.
        class_names: one a class, in label order.
        shots: labelled images a class, 1 or more.
        seed: fixes initialisation and visiting order.

    Raises:
        TaskError: if the arrays disagree in width or length, hold a label without a class, NaN
            or infinity, or leave a class without a training image; if the scale is not above 0
            or there are less than 1 shots.
    """

    train_features: Float[np.ndarray, "n d"]
    train_labels: Int[np.ndarray, " n"]
    val_features: Float[np.ndarray, "m d"]
    val_labels: Int[np.ndarray, " m"]
    class_prototypes: Float[np.ndarray, "c d"]
    logit_scale: float
    class_names: tuple[str, ...]
    shots: int
    seed: int

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.class_prototypes):
            message = (
                f"{len(self.class_prototypes)} class prototypes for {len(self.class_names)} class "
                "names: expected one prototype a class, in the order of the names"
            )
            raise TaskError(message)
        _check_split("training", self.train_features, self.train_labels, self)
        _check_split("validation", self.val_features, self.val_labels, self)
        _check_finite("class prototypes", self.class_prototypes)
        _check_numbers(self)
        absent = set(range(len(self.class_names))) - set(self.train_labels.tolist())
        if absent:
            names = ", ".join(repr(self.class_names[label]) for label in sorted(absent)[:5])
            message = (
                f"{len(absent)} of {len(self.class_names)} classes have no training image "
                f"({names}): label at least one image of each, or drop the class"
            )
            raise TaskError(message)


def require_validation(tasks: Iterable[FewShotTask]) -> None:
    """Return if every task has images to choose a hyper-parameter by.

    Raises:
        TaskError: naming the first that has none.
    """
    for task in tasks:
        if len(task.val_labels) == 0:
            message = (
                f"the task of {task.shots} shots and seed {task.seed} has no validation images to "
                "choose a hyper-parameter by: label some, or give the setting a single value"
            )
            raise TaskError(message)


def _check_numbers(task: FewShotTask) -> None:
    if not 0 < task.logit_scale < math.inf:
        message = f"logit_scale is {task.logit_scale}; expected a finite number above 0"
        raise TaskError(message)
    if task.shots < 1:
        message = f"shots is {task.shots}; expected 1 or more"
        raise TaskError(message)


def _check_split(split: str, features: np.ndarray, labels: np.ndarray, task: FewShotTask) -> None:
    if len(features) != len(labels):
        message = f"{len(features)} {split} features but {len(labels)} {split} labels"
        raise TaskError(message)
    width = task.class_prototypes.shape[1]
    if features.shape[1] != width:
        message = (
            f"{split} features are {features.shape[1]} wide but class prototypes {width}: "
            "both must come from the same encoder"
        )
        raise TaskError(message)
    outside = [int(label) for label in labels if not 0 <= label < len(task.class_names)]
    if outside:
        message = (
            f"{split} label {outside[0]} has no class: expected 0 to {len(task.class_names) - 1}"
        )
        raise TaskError(message)
    _check_finite(f"{split} features", features)


def _check_finite(what: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        message = f"the {what} hold NaN or infinity: encode the images again, or drop those rows"
        raise TaskError(message)
