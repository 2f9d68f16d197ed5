"""The Gaussian classifier against scipy's normal densities, and where nothing scatters."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from clip_adapter.methods import (
    FewShotTask,
    Fitted,
    Gda,
    ZeroShot,
    create_method,
)
from clip_adapter.training import SettingsError

MakeTask = Callable[..., FewShotTask]


def fit_one(method: Gda | ZeroShot, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def of_length_one(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    scaled: np.ndarray = wide / np.linalg.norm(wide, axis=-1, keepdims=True)
    return scaled


def log_densities(rows: np.ndarray, labels: np.ndarray, pictures: np.ndarray) -> np.ndarray:
    """Of each picture under each class's normal, with the covariance as the paper shrinks it."""
    classes = range(int(labels.max()) + 1)
    means = [rows[labels == label].mean(axis=0) for label in classes]
    deviations = np.concatenate([rows[labels == label] - means[label] for label in classes])
    covariance, (n, d) = np.cov(deviations.T), rows.shape
    shrunk = ((n - 1) * covariance + np.trace(covariance) * np.eye(d)) / d
    return np.stack([multivariate_normal(mean, shrunk).logpdf(pictures) for mean in means], axis=1)


@pytest.mark.parametrize("views", [0, 3])
def test_the_logits_are_those_of_normal_densities_beside_zero_shot(
    make_task: MakeTask, pictures: np.ndarray, views: int
) -> None:
    task, alpha = make_task(shots=4), 0.5
    noise = np.random.default_rng(7).normal(size=(3, *task.train_features.shape))
    task = replace(task, train_views=(task.train_features + noise).astype(np.float32))
    rows = of_length_one(task.training_rows(views))
    labels = np.tile(task.train_labels, max(1, views))
    directions = of_length_one(pictures)
    text = task.logit_scale * directions @ task.class_prototypes.T
    expected = text + alpha * log_densities(rows, labels, directions)
    found = fit_one(Gda(alphas=(alpha,), views=views), task).classifier.logits(pictures)
    # What all classes have in common is left out of the logits; float32 of numbers up to 100.
    np.testing.assert_allclose(
        found - found[:, :1], expected - expected[:, :1], rtol=1e-4, atol=1e-3
    )


def test_a_gaussian_of_no_weight_is_zero_shot(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=4)
    found = fit_one(Gda(alphas=(0.0,)), task).classifier.logits(pictures)
    frozen = fit_one(ZeroShot(), task).classifier.logits(pictures)
    np.testing.assert_allclose(found, frozen, atol=1e-5)  # the scale comes in at another place


def test_one_image_a_class_makes_the_nearest_image_win(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=1)
    scores = fit_one(Gda(alphas=(1e6,)), task).classifier.logits(pictures)
    images = of_length_one(task.train_features)[np.argsort(task.train_labels)]
    nearest = (of_length_one(pictures) @ images.T).argmax(axis=1)
    np.testing.assert_array_equal(scores.argmax(axis=1), nearest)


def test_the_same_image_thrice_is_one_image(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=1)
    thrice = replace(
        task,
        train_features=np.tile(task.train_features, (3, 1)),
        train_labels=np.tile(task.train_labels, 3),
        shots=3,
    )
    found, expected = (fit_one(Gda(alphas=(1.0,)), each).classifier for each in (thrice, task))
    # The mean of three equal rows is rounded.
    np.testing.assert_allclose(found.logits(pictures), expected.logits(pictures), atol=1e-4)


def test_only_validation_chooses(make_task: MakeTask) -> None:
    task = make_task(shots=16, n_val=30)
    method = Gda(alphas=(0.0, 10.0))
    wrong = replace(task, val_labels=(task.val_labels + 1) % 3)
    # What is measured is right, so validation labels that are wrong want none of it.
    assert [fit_one(method, each).settings["alpha"] for each in (task, wrong)] == [10.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": []}, r"alphas is \(\); expected one or more numbers from 0 up"),
        ({"alphas": [float("inf")]}, "alphas is .*inf"),
        ({"views": -1}, "views is -1; expected 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method("gda", settings)
