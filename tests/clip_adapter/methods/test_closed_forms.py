"""Ridge to text, ProKeR, nearest mean, SS-Text and APE against slow sums written down from the papers."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clip_adapter.errors import SettingsError
from clip_adapter.methods import (
    Ape,
    FewShotTask,
    Fitted,
    Gda,
    GridMethod,
    Method,
    NearestMean,
    ProKeR,
    RidgeToText,
    SsText,
    SsTextPlus,
    TipAdapter,
    Trial,
    ZeroShot,
    create_method,
)
from clip_adapter.methods.ape import best_channels, channel_scores
from clip_adapter.methods.fitting.class_moments import ClassMoments, directions
from clip_adapter.methods.gda import gaussian_weights
from clip_adapter.methods.proker import kernel_coefficients
from clip_adapter.methods.ridge_to_text import ridge_weights

MakeTask = Callable[..., FewShotTask]
FLOAT32 = {"rtol": 1e-4, "atol": 1e-3}
"""Logits of up to 100 in single precision."""


def fit_one(method: Method, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def logits_of(method: Method, task: FewShotTask, pictures: np.ndarray) -> np.ndarray:
    return fit_one(method, task).classifier.logits(pictures)


def unit(rows: np.ndarray) -> np.ndarray:
    return np.array([row / math.sqrt(sum(row * row)) for row in rows.astype(np.float64)])


@pytest.fixture(name="task", params=["balanced", "unbalanced", "one image", "views"])
def _task(request: pytest.FixtureRequest, make_task: MakeTask) -> FewShotTask:
    if request.param == "one image":
        return make_task(shots=1)
    task = make_task(shots=3)
    if request.param == "unbalanced":
        kept = np.r_[0:4, 6:9]
        return replace(
            task, train_features=task.train_features[kept], train_labels=task.train_labels[kept]
        )
    if request.param == "views":
        noise = np.random.default_rng(7).normal(size=(2, *task.train_features.shape))
        return replace(task, train_views=(task.train_features + noise).astype(np.float32))
    return task


def rows_of(task: FewShotTask) -> tuple[np.ndarray, np.ndarray]:
    return unit(task.training_rows(task.n_views)), np.tile(task.train_labels, max(1, task.n_views))


def test_ridge_to_text_minimises_its_squared_error(task: FewShotTask, pictures: np.ndarray) -> None:
    penalty = 0.7
    rows, labels = rows_of(task)
    # The penalty as further observations: each weight's own row, scaled, with the text's value.
    text = task.class_prototypes.astype(np.float64)
    design = np.concatenate([rows, math.sqrt(penalty) * np.eye(rows.shape[1])])
    expected = []
    for label in range(3):
        target = np.concatenate([(labels == label) * 1.0, math.sqrt(penalty) * text[label]])
        weights, *_ = np.linalg.lstsq(design, target, rcond=None)
        expected.append(task.logit_scale * unit(pictures) @ weights)
    method = RidgeToText(penalties=(penalty,), views=task.n_views)
    found = logits_of(method, task, pictures)
    np.testing.assert_allclose(found, np.transpose(expected), **FLOAT32)


@pytest.mark.parametrize("scaled", [False, True])
def test_proker_is_kernel_ridge_regression_of_what_text_leaves(
    task: FewShotTask, pictures: np.ndarray, *, scaled: bool
) -> None:
    beta, penalty = 2.0, 0.3
    rows, labels = rows_of(task)
    text = task.class_prototypes.astype(np.float64)
    n = len(rows)
    kernel = np.array(
        [[math.exp(-beta * (1 - rows[i] @ rows[j])) for j in range(n)] for i in range(n)]
    )
    system = kernel / penalty + np.eye(n) if scaled else kernel + penalty * np.eye(n)
    expected = np.zeros((len(pictures), 3))
    for label in range(3):
        left = [float(labels[i] == label) - rows[i] @ text[label] for i in range(n)]
        coefficients = np.linalg.inv(system) @ left
        for number, picture in enumerate(unit(pictures)):
            seen = sum(
                coefficients[i] * math.exp(-beta * (1 - picture @ rows[i])) for i in range(n)
            )
            expected[number, label] = task.logit_scale * (picture @ text[label] + seen)
    method = ProKeR(betas=(beta,), penalties=(penalty,), scaled=(scaled,), views=task.n_views)
    np.testing.assert_allclose(logits_of(method, task, pictures), expected, **FLOAT32)


def test_the_leave_one_out_logits_of_proker_have_a_closed_form(make_task: MakeTask) -> None:
    task, beta, penalty = make_task(shots=4), 2.0, 0.3
    rows = directions(task)
    text = task.class_prototypes.astype(np.float64)
    left = np.eye(3)[task.train_labels] - rows @ text.T
    (coefficients,) = kernel_coefficients(rows, left, [{"beta": beta, "penalty": penalty}])
    kernel = np.exp(-beta * (1 - rows @ rows.T))
    inverse = np.linalg.inv(kernel + penalty * np.eye(len(rows)))
    # H = I - l inverse, so that 1 - H_ii is l times the diagonal of the inverse.
    closed = left - coefficients / np.diag(inverse)[:, None]
    method = ProKeR(betas=(beta,), penalties=(penalty,), scaled=(False,))
    for number in range(len(rows)):
        rest = np.arange(len(rows)) != number
        without = replace(
            task, train_features=task.train_features[rest], train_labels=task.train_labels[rest]
        )
        found = logits_of(method, without, task.train_features[number : number + 1])
        np.testing.assert_allclose(
            found[0], task.logit_scale * (text @ rows[number] + closed[number]), **FLOAT32
        )


def test_nearest_mean_lies_between_text_and_images(task: FewShotTask, pictures: np.ndarray) -> None:
    rows, labels = rows_of(task)
    expected = np.zeros((len(pictures), 3))
    for label in range(3):
        own = [row for row, number in zip(rows, labels, strict=True) if number == label]
        mean = sum(own) / len(own)
        prototype = 0.3 * mean + 0.7 * task.class_prototypes[label]
        expected[:, label] = task.logit_scale * unit(pictures) @ unit(prototype[None])[0]
    method = NearestMean(image_ratios=(0.3,), views=task.n_views)
    np.testing.assert_allclose(logits_of(method, task, pictures), expected, **FLOAT32)


@pytest.mark.parametrize("plus", [False, True])
def test_ss_text_pulls_each_class_by_its_images(
    task: FewShotTask, pictures: np.ndarray, *, plus: bool
) -> None:
    rows, labels = rows_of(task)
    prototypes = []
    for label in range(3):
        n_images = (task.train_labels == label).sum()
        prototype = task.class_prototypes[label].astype(np.float64)
        for row, number in zip(rows, labels, strict=True):
            if number == label:  # the penalty of the class is 1 over its number of images
                prototype = prototype + task.logit_scale * n_images / len(rows) * row
        prototypes.append(prototype)
    if plus:
        centre = sum(prototypes) / 3
        prototypes = [one - unit((2 * one - centre)[None])[0] for one in prototypes]
    expected = task.logit_scale * unit(pictures) @ unit(np.array(prototypes)).T
    method = (SsTextPlus if plus else SsText)(views=task.n_views)
    np.testing.assert_allclose(logits_of(method, task, pictures), expected, **FLOAT32)


def test_the_channels_of_ape_are_scored_over_all_pairs_of_samples_of_two_classes(
    task: FewShotTask,
) -> None:
    rows, text = unit(task.train_features), task.class_prototypes.astype(np.float64)
    samples = [(label, text[label]) for label in range(3)]
    samples += list(zip(task.train_labels.tolist(), rows, strict=True))
    pairs = [one * other for label, one in samples for number, other in samples if label != number]
    variance = ((text - text.mean(axis=0)) ** 2).sum(axis=0) / 2
    expected = 0.3 * variance - 0.7 * sum(pairs) / len(pairs)
    found = channel_scores(rows, task.train_labels, text)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    kept = best_channels(found, 0.25)
    assert kept.sum() == 4
    assert expected[kept == 1].min() >= expected[kept == 0].max()


def test_ape_weighs_the_images_that_the_text_gets_wrong(
    task: FewShotTask, pictures: np.ndarray
) -> None:
    alpha, beta, gamma = 1.5, 3.0, 0.4
    rows, labels = unit(task.train_features), task.train_labels
    text = task.class_prototypes.astype(np.float64)
    mask = best_channels(channel_scores(rows, labels, text), 0.5) == 1
    few, words = unit(rows[:, mask]), unit(text[:, mask])
    expected = task.logit_scale * unit(pictures) @ text.T
    for picture, scores in zip(unit(unit(pictures)[:, mask]), expected, strict=True):
        for row, label in zip(few, labels, strict=True):
            chances = [math.exp(row @ word) for word in words]
            bits = -math.log2(chances[label] / sum(chances))
            scores[label] += alpha * math.exp(gamma * bits) * math.exp(-beta * (1 - picture @ row))
    method = Ape(alphas=(alpha,), betas=(beta,), gammas=(gamma,), kept=(0.5,))
    np.testing.assert_allclose(logits_of(method, task, pictures), expected, **FLOAT32)


def test_ape_with_all_channels_and_equal_weights_is_tip_adapter(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3)
    ape = Ape(alphas=(2.0,), betas=(3.0,), gammas=(0.0,), kept=(1.0,))
    tip = TipAdapter(alphas=(2.0,), betas=(3.0,))
    np.testing.assert_allclose(
        logits_of(ape, task, pictures), logits_of(tip, task, pictures), atol=1e-4
    )


def test_the_logits_of_a_whole_grid_are_those_of_its_points(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3)
    for method in (Ape(), ProKeR()):
        grid = method.grid(task)
        (fitted,) = method.fit_together(
            [Trial(task=task, points=grid)], device="cpu", report=lambda _: None
        )
        found = list(method.logits(fitted, pictures))
        for number in range(0, len(grid), 17):
            np.testing.assert_array_equal(found[number], fitted[number].classifier.logits(pictures))


@pytest.mark.parametrize(
    "method",
    [
        RidgeToText(penalties=(1e9,)),
        ProKeR(penalties=(1e9,), scaled=(False,)),
        NearestMean(image_ratios=(0.0,)),
        Ape(alphas=(0.0,)),
    ],
)
def test_images_without_weight_leave_zero_shot(
    method: GridMethod, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=4)
    np.testing.assert_allclose(
        logits_of(method, task, pictures), logits_of(ZeroShot(), task, pictures), atol=1e-4
    )


def test_sums_of_features_are_all_that_ridge_and_gda_need(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    """An image less is a subtraction from the sums, and gives what fitting without it gives."""
    task = make_task(shots=4)
    rows, text = directions(task), task.class_prototypes.astype(np.float64)
    whole = ClassMoments.of(rows, task.train_labels, 3)
    less = whole.remove(rows[:1], task.train_labels[:1])
    rest = replace(task, train_features=task.train_features[1:], train_labels=task.train_labels[1:])
    refitted = ClassMoments.of_task(rest)
    np.testing.assert_allclose(less.means, refitted.means, atol=1e-12)
    (weights,) = ridge_weights(less.gram, less.sums, text, [0.3])
    np.testing.assert_allclose(
        task.logit_scale * unit(pictures) @ weights.T,
        logits_of(RidgeToText(penalties=(0.3,)), rest, pictures),
        **FLOAT32,
    )
    weight, bias = gaussian_weights(less.counts, less.sums, less.gram)
    text_logits = task.logit_scale * unit(pictures) @ text.T
    np.testing.assert_allclose(
        text_logits + 0.5 * (unit(pictures) @ weight.T + bias),
        logits_of(Gda(alphas=(0.5,)), rest, pictures),
        **FLOAT32,
    )


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ridge-to-text", {"penalties": [0.0]}, "penalties is .*expected one or more numbers"),
        ("proker", {"penalties": []}, "penalties is .*expected one or more numbers"),
        ("proker", {"betas": [-1.0]}, "betas is .*from 0 up"),
        ("proker", {"scaled": []}, "scaled is .*expected false, true or both"),
        ("nearest-mean", {"image_ratios": [1.5]}, "image_ratios is .*from 0 to 1"),
        ("ape", {"kept": [0.0]}, "kept is .*above 0, at most 1"),
        ("ape", {"gammas": [-0.1]}, "gammas is .*from 0 up"),
        ("ss-text", {"views": -1}, "views is -1; expected 0 or more"),
        ("clap", {"text_length": 0.0}, "text_length is .*expected one or more numbers"),
    ],
)
def test_a_setting_out_of_range_is_refused(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method(name, settings)
