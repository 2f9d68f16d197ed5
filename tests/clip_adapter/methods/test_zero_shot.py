"""CLIP as it is."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clip_adapter.methods import FewShotTask, ZeroShot

MakeTask = Callable[..., FewShotTask]


def test_zero_shot_is_the_scaled_cosine_with_each_prototype(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(logit_scale=100.0)
    (fitted,) = ZeroShot().fit([task])
    f, w = pictures.astype(np.float64), task.class_prototypes.astype(np.float64)
    f /= np.linalg.norm(f, axis=1, keepdims=True)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    # A cosine of 16 float32 products, times 100.
    np.testing.assert_allclose(fitted.classifier.logits(pictures), 100.0 * f @ w.T, atol=1e-4)


def test_nothing_is_chosen(make_task: MakeTask) -> None:
    (fitted,) = ZeroShot().fit([make_task()])
    assert fitted.selected_on == "nothing"
    assert fitted.candidates == ()


def test_single_takes_the_first_prompt_and_ensemble_the_mean_direction(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task()
    others = np.random.default_rng(3).normal(size=task.prompt_features.shape).astype(np.float32)
    many = replace(task, prompt_features=np.concatenate([task.prompt_features, others], axis=1))
    (single,) = ZeroShot(prompts="single").fit([many])
    (ensemble,) = ZeroShot().fit([many])
    (first_alone,) = ZeroShot().fit([task])
    found = single.classifier.logits(pictures)
    np.testing.assert_array_equal(found, first_alone.classifier.logits(pictures))
    assert np.abs(found - ensemble.classifier.logits(pictures)).max() > 0.1


def test_neither_training_images_nor_shots_nor_seed_make_a_difference(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    one, other = ZeroShot().fit([make_task(seed=0, shots=1), make_task(seed=1, shots=4)])
    np.testing.assert_array_equal(
        one.classifier.logits(pictures), other.classifier.logits(pictures)
    )
