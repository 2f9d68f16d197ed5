"""The task of a few-shot method: plain arrays, without the test split."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import DataError
from clip_adapter.shots import shots_in_words

if TYPE_CHECKING:  # a protocol is not called; its shapes are documentation
    from torch import Tensor


@runtime_checkable
class TextTower(Protocol):
    """A frozen text tower that takes token embeddings, so that some of them may be learned."""

    @property
    def context_length(self) -> int:
        """Largest number of tokens of a prompt, start and end included."""
        ...

    @property
    def token_width(self) -> int:
        """Width w of a token's embedding."""
        ...

    def embed(
        self, prompts: Sequence[str]
    ) -> "tuple[Float[Tensor, 'n length w'], Int[Tensor, 'n length']]":
        """Token embeddings of whole prompts, and the tokens they belong to."""
        ...

    def ends(self, tokens: "Int[Tensor, 'n length']") -> "Int[Tensor, ' n']":
        """Position of the end of each prompt; padding follows it."""
        ...

    def encode(
        self, embeddings: "Float[Tensor, 'n length w']", tokens: "Int[Tensor, 'n length']"
    ) -> "Float[Tensor, 'n d']":
        """Raw text features; differentiable in the embeddings, the tower's weights are frozen.

        The tokens only determine where a prompt ends.
        """
        ...


def class_prototypes(prompt_features: Float[np.ndarray, "c t d"]) -> Float[np.ndarray, "c d"]:
    """Average the directions of each class's prompts, CLIP's prompt ensemble.

    `w = mean_t(p_t / |p_t|)` scaled to length 1 (Radford et al. 2021,
    https://arxiv.org/abs/2103.00020, section 3.1.4); with one template simply its direction.

    Args:
        prompt_features: raw text features, t templates for each of c classes.
    """
    single = prompt_features.astype(np.float32, copy=False)
    with np.errstate(divide="ignore", invalid="ignore"):  # a task rejects prompts without direction
        directions = single / np.linalg.norm(single, axis=2, keepdims=True)
        means = directions.mean(axis=1)
        prototypes: Float[np.ndarray, "c d"] = means / np.linalg.norm(means, axis=1, keepdims=True)
    return prototypes.astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class FewShotTask:
    """K labelled images a class, a few more for validation, and the text side of CLIP.

    A task has no test images: a method cannot select on what it is not given.

    Attributes:
        train_features: raw image features (before normalisation) of the evaluation view.
        train_labels: class numbers, 0 to c - 1.
        val_features: raw image features of validation images, which only choose hyper-parameters.
        val_labels: class numbers of the validation images.
        prompt_features: raw text features, t prompts of each class in the same order.
        logit_scale: CLIP's inverse temperature.
        class_names: one name a class, in label order.
        shots: labelled images a class, 1 or more.
        seed: seed of initialisation and visiting order.
        train_views: raw features of v augmented views of the training images; none by default.
        text_tower: text tower of the encoder, for a method that learns prompts.

    Raises:
        DataError: the arrays disagree in width or length, hold a label without a class, NaN or
            infinity, or leave a class without a training image; there is a single class, a class
            has no prompt, the scale is not above 0 or there are less than 1 shots.
    """

    train_features: Float[np.ndarray, "n d"]
    train_labels: Int[np.ndarray, " n"]
    val_features: Float[np.ndarray, "m d"]
    val_labels: Int[np.ndarray, " m"]
    prompt_features: Float[np.ndarray, "c t d"]
    logit_scale: float
    class_names: tuple[str, ...]
    shots: int
    seed: int
    train_views: Float[np.ndarray, "v n d"] | None = None
    text_tower: TextTower | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_prompts(self)
        _check_split("training", self.train_features, self.train_labels, self)
        _check_split("validation", self.val_features, self.val_labels, self)
        _check_views(self)
        _check_numbers(self)
        absent = set(range(len(self.class_names))) - set(self.train_labels.tolist())
        if absent:
            names = ", ".join(repr(self.class_names[label]) for label in sorted(absent)[:5])
            message = (
                f"{len(absent)} of {len(self.class_names)} classes have no training image "
                f"({names}): label at least one image of each, or drop the class"
            )
            raise DataError(message)

    @cached_property
    def class_prototypes(self) -> Float[np.ndarray, "c d"]:
        """One text feature of length 1 a class, the ensemble of its prompts."""
        return class_prototypes(self.prompt_features)

    @property
    def n_views(self) -> int:
        """Number of augmented views of each training image."""
        return 0 if self.train_views is None else len(self.train_views)

    def training_rows(self, views: int) -> Float[np.ndarray, "rows d"]:
        """The rows that a training visits: the evaluation view, or that many augmented views.

        They follow view after view, each in the order of `train_labels`.

        Raises:
            DataError: the task has fewer views.
        """
        if views == 0:
            return self.train_features
        if self.train_views is None or views > len(self.train_views):
            message = (
                f"{views} augmented views of each training image are asked for, the task has "
                f"{self.n_views}: set views to {self.n_views}, or train from images, of which "
                "views can be encoded"
            )
            raise DataError(message)
        chosen = self.train_views[:views]
        rows: Float[np.ndarray, "rows d"] = chosen.reshape(-1, chosen.shape[-1])
        return rows


def require_validation(tasks: Iterable[FewShotTask]) -> None:
    """Return if every task has validation images to choose a hyper-parameter by.

    Raises:
        DataError: a task has none; the message names the first.
    """
    for task in tasks:
        if len(task.val_labels) == 0:
            message = (
                f"the task of {shots_in_words(task.shots)} and seed {task.seed} has no validation images to "
                "choose a hyper-parameter by: label some, or give the setting a single value"
            )
            raise DataError(message)


def _check_prompts(task: FewShotTask) -> None:
    if len(task.class_names) != len(task.prompt_features):
        message = (
            f"prompt features of {len(task.prompt_features)} classes for {len(task.class_names)} "
            "class names: expected those of one class a name, in the order of the names"
        )
        raise DataError(message)
    if len(task.class_names) < 2:
        message = (
            f"the task has {len(task.class_names)} class: with fewer than two there is nothing to "
            "tell apart, so add one, images and prompt included"
        )
        raise DataError(message)
    if task.prompt_features.ndim != 3 or task.prompt_features.shape[1] == 0:
        message = (
            f"prompt features have the shape {task.prompt_features.shape}: expected classes, "
            "one or more prompts a class, width"
        )
        raise DataError(message)
    _check_finite("prompt features", task.prompt_features)
    if not np.isfinite(task.class_prototypes).all():
        (without, *_) = np.flatnonzero(~np.isfinite(task.class_prototypes).all(axis=1))
        message = (
            f"the prompts of class {task.class_names[without]!r} have no direction: a feature is "
            "all zero, or they cancel one another; encode them again"
        )
        raise DataError(message)


def _check_views(task: FewShotTask) -> None:
    if task.train_views is None:
        return
    if task.train_views.shape[1:] != task.train_features.shape:
        message = (
            f"the augmented views have the shape {task.train_views.shape}: expected views of "
            f"{task.train_features.shape[0]} training images of width "
            f"{task.train_features.shape[1]}"
        )
        raise DataError(message)
    _check_finite("augmented views", task.train_views)


def _check_numbers(task: FewShotTask) -> None:
    if not 0 < task.logit_scale < math.inf:
        message = f"logit_scale is {task.logit_scale}; expected a finite number above 0"
        raise DataError(message)
    if task.shots < 1:
        message = f"shots is {task.shots}; expected 1 or more"
        raise DataError(message)


def _check_split(split: str, features: np.ndarray, labels: np.ndarray, task: FewShotTask) -> None:
    if len(features) != len(labels):
        message = f"{len(features)} {split} features but {len(labels)} {split} labels"
        raise DataError(message)
    width = task.prompt_features.shape[2]
    if features.shape[1] != width:
        message = (
            f"{split} features are {features.shape[1]} wide but prompt features {width}: "
            "both must come from the same encoder"
        )
        raise DataError(message)
    outside = [int(label) for label in labels if not 0 <= label < len(task.class_names)]
    if outside:
        message = (
            f"{split} label {outside[0]} has no class: expected 0 to {len(task.class_names) - 1}"
        )
        raise DataError(message)
    _check_finite(f"{split} features", features)


def _check_finite(what: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        message = f"the {what} hold NaN or infinity: encode the images again, or drop those rows"
        raise DataError(message)
