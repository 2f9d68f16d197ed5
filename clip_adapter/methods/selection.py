"""Selection of hyper-parameters: on validation images, on held-out shots, or not at all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from clip_adapter.errors import SettingsError
from clip_adapter.methods.method import Candidate, Classifier, SelectedOn
from clip_adapter.methods.task import FewShotTask
from clip_adapter.training.settings import LARGEST_COUNT

Selection = Literal["validation", "held-out-shots", "none"]
"""The images that choose hyper-parameters: those of the validation split, training images that are left
out in turn, or none, so that stated defaults are taken."""
MAX_FOLDS = 4
"""Four folds leave four images of each class out, as many as the usual validation set has."""
VALIDATION_PARTS = 4
"""Parts of the validation images of which three choose and one scores, see `nested_score`."""


def selected_on(selection: Selection, task: FewShotTask) -> SelectedOn:
    """The data that choose among the candidates of a task.

    Without validation images, held-out shots choose in their place. Where fewer than half of the classes
    have two training images, nothing can: too few shots could be held out.
    """
    if selection == "validation" and len(task.val_labels):
        return "validation"
    if selection == "none" or not _can_hold_out(task.train_labels):
        return "nothing"
    return "held-out shots"


def validate(classifier: Classifier, task: FewShotTask, **settings: float) -> Candidate:
    """Evaluate a classifier, made with those hyper-parameters, on the task's validation images."""
    return evaluate_candidate(classifier.logits(task.val_features), task.val_labels, **settings)


def evaluate_candidate(
    scores: Float[np.ndarray, "m c"], labels: Int[np.ndarray, " m"], **settings: float
) -> Candidate:
    """The accuracy and NLL of logits of the images of model selection.

    Raises:
        DataError: there are no images, or a logit is not finite.
    """
    from clip_adapter.training.evaluation import check_scores, nll

    check_scores(scores, labels)
    return Candidate(
        settings=settings,
        validation_accuracy=float((scores.argmax(axis=1) == labels).mean()),
        validation_nll=nll(scores, labels),
    )


def best_candidate(candidates: Sequence[Candidate]) -> int:
    """The number of the candidate with the best accuracy on the images of model selection.

    Candidates often tie on a few images: then the lower negative log-likelihood decides, then the order.
    """
    ranks = [
        (-candidate.validation_accuracy, candidate.validation_nll, number)
        for number, candidate in enumerate(candidates)
    ]
    return min(ranks)[2]


def folds(task: FewShotTask, *, at_most: int = MAX_FOLDS) -> list[FewShotTask]:
    """The task with one shot of each class moved to validation, for each of some shots.

    Fold r leaves the r-th training image of every class out that has two or more; a class of one image
    stays in training in every fold. All classes are left as many images as they can: with single images
    left out, their own class would always be the one of fewer. The task's own validation images are not
    used. Shots and seed stay, so that a training has as many epochs as the final one.

    Args:
        task: a task in which some class has two images.
        at_most: number of folds, if the largest class has as many images.
    """
    return [_without(task, rows) for rows in fold_rows(task.train_labels, at_most=at_most)]


def fold_rows(
    labels: Int[np.ndarray, " n"], *, at_most: int = MAX_FOLDS
) -> list[Int[np.ndarray, " m"]]:
    """The rows of the training images that each fold of `folds` leaves out, in ascending order.

    Args:
        labels: class numbers of the training images.
        at_most: number of folds, if the largest class has as many images.
    """
    order, sizes = _image_numbers(labels), np.bincount(labels)
    n_folds = min(int(sizes.max()), at_most)
    can = sizes[labels] > 1
    return [np.flatnonzero((order == fold) & can) for fold in range(n_folds)]


def merge_folds(
    results: Sequence[Sequence[Candidate]], n_images: Sequence[int]
) -> tuple[Candidate, ...]:
    """The results of each point over all folds, each weighted by the images that it leaves out."""
    return tuple(
        Candidate(
            settings=of_point[0].settings,
            validation_accuracy=float(
                np.average([each.validation_accuracy for each in of_point], weights=n_images)
            ),
            validation_nll=float(
                np.average([each.validation_nll for each in of_point], weights=n_images)
            ),
        )
        for of_point in zip(*results, strict=True)
    )


def nested_score(
    results: Sequence[Sequence[Candidate]], n_images: Sequence[int]
) -> Candidate | None:
    """The score of choosing itself: each fold's images are scored by the point that the other folds choose.

    The best of many points looks better than it is on the images that chose it (Varma and Simon 2006,
    https://doi.org/10.1186/1471-2105-7-91). No image chooses the point that it is scored by.

    Args:
        results: the candidates of each fold, in the same order of points.
        n_images: number of images that each fold scores.

    Returns:
        Accuracy and NLL over all images, without settings; None for fewer than two folds.
    """
    chosen = choices_of_others(results, n_images)
    if not chosen:
        return None
    scored = [
        [replace(of_fold[number], settings={})]
        for of_fold, number in zip(results, chosen, strict=True)
    ]
    (nested,) = merge_folds(scored, n_images)
    return nested


def choices_of_others(results: Sequence[Sequence[Candidate]], n_images: Sequence[int]) -> list[int]:
    """For each fold the number of the point that the other folds choose; empty for fewer than two folds.

    Args:
        results: the candidates of each fold, in the same order of points.
        n_images: number of images that each fold scores.
    """
    if len(results) < 2:
        return []
    chosen = []
    for fold in range(len(results)):
        others = [number for number in range(len(results)) if number != fold]
        merged = merge_folds(
            [results[number] for number in others], [n_images[number] for number in others]
        )
        chosen.append(best_candidate(merged))
    return chosen


def scored_parts(task: FewShotTask, in_folds: Sequence[FewShotTask]) -> list[Int[np.ndarray, " _"]]:
    """Rows, among the images of all folds, of each part that is scored by a choice of all other images.

    Args:
        task: the task of the folds.
        in_folds: folds of held-out shots, and last the task itself where validation images choose too.

    Returns:
        Quarters of the validation images where they choose, else one part a fold.
    """
    sizes = [len(fold.val_labels) for fold in in_folds]
    ends = np.cumsum(sizes)
    if in_folds[-1] is task:
        return [ends[-1] - sizes[-1] + rows for rows in validation_parts(task.val_labels)]
    return np.split(np.arange(ends[-1]), ends[:-1])


def validation_parts(labels: Int[np.ndarray, " m"]) -> list[Int[np.ndarray, " _"]]:
    """Rows of validation images in up to four parts, each with nearly as many images of every class."""
    order = np.argsort(labels, kind="stable")
    parts = [order[part::VALIDATION_PARTS] for part in range(VALIDATION_PARTS)]
    return [rows for rows in parts if len(rows)]


def _image_numbers(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each image the number of images of its class before it."""
    numbers = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        numbers[own] = np.arange(len(own))
    return numbers


def _can_hold_out(labels: Int[np.ndarray, " n"]) -> bool:
    counts = np.bincount(labels)
    return bool(2 * (counts > 1).sum() >= len(counts))


def _without(task: FewShotTask, rows: Int[np.ndarray, " m"]) -> FewShotTask:
    views = task.train_views
    left_out = np.zeros(len(task.train_labels), dtype=np.bool_)
    left_out[rows] = True
    return replace(
        task,
        train_features=task.train_features[~left_out],
        train_labels=task.train_labels[~left_out],
        train_views=None if views is None else views[:, ~left_out],
        val_features=task.train_features[left_out],
        val_labels=task.train_labels[left_out],
    )


def check_grid(name: str, values: Sequence[float], *, at_least: float) -> None:
    """Return if a grid of hyper-parameters has a value, and all values are in range.

    Raises:
        SettingsError: it is empty, or holds a value below the least, NaN or infinity.
    """
    if not values or not all(at_least <= value < float("inf") for value in values):
        message = f"{name} is {tuple(values)}; expected one or more numbers from {at_least:g} up"
        raise SettingsError(message)


def check_count(name: str, value: int, *, at_least: int = 0) -> None:
    """Return if a whole number is neither too small nor too large; else raise `SettingsError`."""
    if not at_least <= value <= LARGEST_COUNT:
        message = f"{name} is {value}; expected {at_least} or more, at most {LARGEST_COUNT:,}"
        raise SettingsError(message)
