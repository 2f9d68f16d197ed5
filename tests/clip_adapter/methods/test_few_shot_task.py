"""A task refuses arrays that do not describe one, in words that say what to do."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clip_adapter.errors import ClipAdapterError
from clip_adapter.methods import DataError, FewShotTask
from clip_adapter.methods.task import require_validation

MakeTask = Callable[..., FewShotTask]


def with_value(values: np.ndarray, value: float) -> np.ndarray:
    changed = values.copy()
    changed[1, ..., 2] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            lambda task: {"class_names": task.class_names[:2]},
            "prompt features of 3 classes for 2 class names: expected those of one class",
        ),
        (
            lambda task: {"train_labels": task.train_labels[1:]},
            "6 training features but 5 training labels",
        ),
        (
            lambda task: {"val_features": task.val_features[1:]},
            "7 validation features but 8 validation labels",
        ),
        (
            lambda task: {"train_features": task.train_features[:, :15]},
            "training features are 15 wide but prompt features 16: both must come from the same",
        ),
        (
            lambda task: {"val_features": task.val_features[:, :15]},
            "validation features are 15 wide but prompt features 16",
        ),
        (
            lambda task: {"train_labels": task.train_labels + 1},
            "training label 3 has no class: expected 0 to 2",
        ),
        (
            lambda task: {"val_labels": task.val_labels - 1},
            "validation label -1 has no class: expected 0 to 2",
        ),
        (
            lambda task: {"train_features": with_value(task.train_features, math.nan)},
            "the training features hold NaN or infinity: encode the images again",
        ),
        (
            lambda task: {"val_features": with_value(task.val_features, math.inf)},
            "the validation features hold NaN or infinity",
        ),
        (
            lambda task: {"prompt_features": task.prompt_features[:, :0]},
            "expected classes, one or more prompts a class, width",
        ),
        (
            lambda task: {"train_views": task.train_features[None, 1:]},
            "the augmented views have the shape (1, 5, 16): expected views of 6 training images",
        ),
        (
            lambda task: {"train_views": with_value(task.train_features, math.nan)[None]},
            "the augmented views hold NaN or infinity",
        ),
        (
            lambda task: {"prompt_features": with_value(task.prompt_features, -math.inf)},
            "the prompt features hold NaN or infinity",
        ),
        (
            lambda task: {"train_labels": np.zeros_like(task.train_labels)},
            "2 of 3 classes have no training image ('class 1', 'class 2'): label at least one",
        ),
        (lambda _: {"logit_scale": math.nan}, "logit_scale is nan; expected a finite number"),
        (lambda _: {"logit_scale": 0.0}, "logit_scale is 0.0; expected a finite number above 0"),
        (lambda _: {"shots": 0}, "shots is 0; expected 1 or more"),
    ],
)
def test_a_malformed_task_is_refused_with_its_reason(
    make_task: MakeTask, changes: Callable[[FewShotTask], dict[str, Any]], message: str
) -> None:
    task = make_task()
    with pytest.raises(DataError) as refusal:
        replace(task, **changes(task))
    assert message in str(refusal.value)


def test_of_many_absent_classes_five_are_named(make_task: MakeTask) -> None:
    task = make_task(n_classes=9)
    with pytest.raises(DataError) as refusal:
        replace(task, train_labels=np.zeros_like(task.train_labels))
    assert "8 of 9 classes" in str(refusal.value)
    assert str(refusal.value).count("'class") == 5


def test_a_task_needs_no_validation_images_until_something_is_chosen(make_task: MakeTask) -> None:
    task = make_task(n_val=0, seed=7)
    with pytest.raises(DataError, match="2 shots and seed 7 has no validation images"):
        require_validation([make_task(), task])


def test_a_task_has_no_place_for_test_images(make_task: MakeTask) -> None:
    assert not [name for name in vars(make_task()) if "test" in name]


def test_a_refusal_belongs_to_the_family_and_is_a_value_error() -> None:
    assert issubclass(DataError, ClipAdapterError)
    assert issubclass(DataError, ValueError)


def test_a_single_class_is_nothing_to_tell_apart(make_task: MakeTask) -> None:
    with pytest.raises(DataError, match=r"the task has 1 class: .* so add one"):
        make_task(n_classes=1)


def test_a_training_visits_the_image_itself_or_its_views(make_task: MakeTask) -> None:
    task = make_task()
    views = np.stack([task.train_features + number for number in (1, 2, 3)])
    viewed = replace(task, train_views=views)
    np.testing.assert_array_equal(viewed.training_rows(0), task.train_features)
    np.testing.assert_array_equal(viewed.training_rows(2), views[:2].reshape(-1, 16))


def test_more_views_than_there_are_is_an_error_that_says_how_many(make_task: MakeTask) -> None:
    with pytest.raises(DataError, match=r"4 augmented views .* the task has 0: set views to 0"):
        make_task().training_rows(4)
