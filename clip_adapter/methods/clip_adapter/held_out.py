"""Shots that are left out of the training, one of each class at a time, to choose by."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from clip_adapter.methods.method import Candidate
from clip_adapter.methods.task import FewShotTask, TaskError
from clip_adapter.shots import shots_in_words

MOST_ROTATIONS = 4
"""More cost more and say little more: four leave four images of each class out, as many as the
usual validation set has."""


def rotations(task: FewShotTask) -> list[FewShotTask]:
    """The task with one shot of each class moved to validation, for each of up to four shots.

    Rotation r leaves the r-th training image of every class out, and there are as many as the
    smallest class has images, at most four. The task's own validation images are not looked at.
    Shots and seed stay, so that a training goes through its epochs as the final one will.

    Raises:
        TaskError: if a class has a single training image.
    """
    turns = _turns(task.train_labels)
    smallest = int(np.bincount(task.train_labels).min())
    if smallest < 2:
        message = (
            f"the task of {shots_in_words(task.shots)} and seed {task.seed} has a class with a single "
            "training image, of which none can be held out: label two images of each class or "
            "more, or choose on validation, or learn the ratio"
        )
        raise TaskError(message)
    return [_without(task, turns == turn) for turn in range(min(smallest, MOST_ROTATIONS))]


def _turns(labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """For each image how many of its class stand before it."""
    turns = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        turns[own] = np.arange(len(own))
    return turns


def _without(task: FewShotTask, left_out: np.ndarray) -> FewShotTask:
    views = task.train_views
    return replace(
        task,
        train_features=task.train_features[~left_out],
        train_labels=task.train_labels[~left_out],
        train_views=None if views is None else views[:, ~left_out],
        val_features=task.train_features[left_out],
        val_labels=task.train_labels[left_out],
    )


def pool(candidates: Sequence[Candidate]) -> Candidate:
    """How one point of a grid did on the images of all rotations, which leave out equally many."""
    return Candidate(
        settings=candidates[0].settings,
        validation_accuracy=float(np.mean([one.validation_accuracy for one in candidates])),
        validation_nll=float(np.mean([one.validation_nll for one in candidates])),
    )
