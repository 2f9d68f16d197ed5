"""Tip-Adapter as its paper writes it, image by image, and its keys in training."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip_adapter.methods import (
    CacheClassifier,
    DataError,
    FewShotTask,
    Fitted,
    Method,
    TipAdapter,
    TipAdapterF,
    ZeroShot,
    create_method,
)
from clip_adapter.training import SettingsError, TrainingSettings

MakeTask = Callable[..., FewShotTask]


def fit_one(method: Method, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def of_length_one(rows: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return scaled


def image_by_image(
    task: FewShotTask, pictures: np.ndarray, alpha: float, beta: float
) -> np.ndarray:
    scores = task.logit_scale * of_length_one(pictures) @ task.class_prototypes.T
    for row, picture in zip(scores, of_length_one(pictures), strict=True):
        for key, label in zip(of_length_one(task.train_features), task.train_labels, strict=True):
            row[label] += alpha * math.exp(-beta * (1 - float(picture @ key)))
    found: np.ndarray = scores
    return found


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 5.5), (3.0, 1.0), (0.5, 0.0)])
def test_every_cached_image_votes_for_its_class(
    make_task: MakeTask, pictures: np.ndarray, alpha: float, beta: float
) -> None:
    task = make_task(shots=4)
    found = fit_one(TipAdapter(alphas=(alpha,), betas=(beta,)), task).classifier.logits(pictures)
    expected = image_by_image(task, pictures, alpha, beta)
    # Logits up to 20 in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["tip-adapter", "tip-adapter-f"])
def test_a_cache_of_no_weight_is_zero_shot_bit_for_bit(
    make_task: MakeTask, pictures: np.ndarray, name: str
) -> None:
    task = make_task(shots=4)
    found = fit_one(create_method(name, {"alphas": [0.0]}), task).classifier.logits(pictures)
    frozen = fit_one(ZeroShot(), task).classifier.logits(pictures)
    np.testing.assert_array_equal(found, frozen)


def test_the_pairs_are_judged_by_the_very_classifiers_they_make(make_task: MakeTask) -> None:
    task = make_task(n_val=30)
    fitted = fit_one(TipAdapter(), task)
    assert len(fitted.candidates) == 10 * 8 + 1  # alpha 0 needs no beta
    for candidate in fitted.candidates:
        alpha, beta = candidate.settings["alpha"], candidate.settings["beta"]
        alone = fit_one(TipAdapter(alphas=(alpha,), betas=(beta,)), task).classifier
        right = alone.logits(task.val_features).argmax(axis=1) == task.val_labels
        assert candidate.validation_accuracy == right.mean()


@pytest.mark.parametrize("method", [TipAdapter(), TipAdapterF()])
def test_only_validation_chooses(make_task: MakeTask, method: Method) -> None:
    task = make_task(shots=4, n_val=30)
    wrong = replace(task, val_labels=(task.val_labels + 1) % 3)
    assert fit_one(method, task).settings["alpha"] != 0
    # The cache is right, so validation labels that are wrong want the least of it.
    assert fit_one(method, wrong).settings["alpha"] == 0


@pytest.mark.parametrize("method", [TipAdapter, TipAdapterF])
def test_a_single_pair_needs_no_validation(
    make_task: MakeTask, method: type[TipAdapter | TipAdapterF]
) -> None:
    task = make_task(n_val=0)
    settings = {"alphas": (1.0,), "betas": (5.5,)}
    if method is TipAdapterF:
        settings["training"] = TrainingSettings(epochs=2)
    fitted = fit_one(method(**settings), task)
    assert (fitted.selected_on, fitted.candidates) == ("nothing", ())


def with_views(task: FewShotTask, n_views: int = 3) -> FewShotTask:
    noise = np.random.default_rng(7).normal(size=(n_views, *task.train_features.shape))
    return replace(task, train_views=(task.train_features + noise).astype(np.float32))


def test_a_key_is_the_mean_direction_of_its_views(make_task: MakeTask) -> None:
    task = with_views(make_task())
    classifier = fit_one(TipAdapter(views=2), task).classifier
    assert isinstance(classifier, CacheClassifier)
    assert task.train_views is not None
    expected = of_length_one(of_length_one(task.train_views[:2]).mean(axis=0))
    np.testing.assert_allclose(classifier.keys, expected, atol=1e-6)  # float32


@pytest.mark.parametrize("method", [TipAdapter(views=4), TipAdapterF(views=4)])
def test_views_that_a_task_lacks_are_asked_for(make_task: MakeTask, method: Method) -> None:
    with pytest.raises(DataError, match=r"4 augmented views .* has 3"):
        fit_one(method, with_views(make_task()))


def plain_training(task: FewShotTask, epochs: int, rate: float) -> np.ndarray:
    """One loop with torch's own optimiser, all images in a batch."""
    images = torch.from_numpy(of_length_one(task.train_features))
    labels = torch.from_numpy(task.train_labels)
    keys = images.clone().requires_grad_()
    optimizer = torch.optim.AdamW([keys], lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    values = torch.nn.functional.one_hot(labels).float()
    text = 20.0 * images @ torch.from_numpy(task.class_prototypes).T
    for _ in range(epochs):
        affinities = torch.exp(-5.5 * (1 - images @ keys.T))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(text + affinities @ values, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return keys.detach().numpy()


def test_the_keys_are_trained_as_by_a_plain_loop(make_task: MakeTask) -> None:
    task = make_task(shots=4)
    training = TrainingSettings(epochs=12, learning_rate=1e-3)
    classifier = fit_one(TipAdapterF(training=training), task).classifier
    assert isinstance(classifier, CacheClassifier)
    # A dozen steps of 1e-3, in which Adam magnifies the rounding of the smallest gradients.
    np.testing.assert_allclose(classifier.keys, plain_training(task, 12, 1e-3), atol=1e-4)


def test_training_the_keys_lowers_the_loss(make_task: MakeTask) -> None:
    curve = fit_one(TipAdapterF(), make_task(shots=8)).loss_curve
    assert len(curve) == 20
    assert curve[-1] < curve[0]


def test_views_are_drawn_while_the_keys_are_trained(make_task: MakeTask) -> None:
    task = with_views(make_task(shots=4))
    few, many = (fit_one(TipAdapterF(views=views), task) for views in (1, 3))
    assert few.settings["views"] == 1
    assert few.loss_curve != many.loss_curve


def test_a_rate_beyond_sense_is_told(make_task: MakeTask) -> None:
    method = TipAdapterF(training=TrainingSettings(learning_rate=1e15))
    with pytest.raises(SettingsError, match="lower the learning rate"):
        fit_one(method, make_task())


@pytest.mark.parametrize("name", ["tip-adapter", "tip-adapter-f"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": []}, r"alphas is \(\); expected one or more numbers from 0 up"),
        ({"betas": [1.0, float("nan")]}, "betas is .*nan.*; expected"),
        ({"alphas": [-1.0]}, "alphas is .*-1.0"),
        ({"views": -1}, "views is -1; expected 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method(name, settings)
