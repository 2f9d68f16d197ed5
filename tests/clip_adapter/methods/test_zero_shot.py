"""CLIP as it is."""

from collections.abc import Callable

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


def test_nothing_is_chosen_and_nothing_is_set(make_task: MakeTask) -> None:
    (fitted,) = ZeroShot().fit([make_task()])
    assert fitted.selected_on == "nothing"
    assert fitted.candidates == ()
    assert fitted.settings == {}


def test_neither_training_images_nor_shots_nor_seed_make_a_difference(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    one, other = ZeroShot().fit([make_task(seed=0, shots=1), make_task(seed=1, shots=4)])
    np.testing.assert_array_equal(
        one.classifier.logits(pictures), other.classifier.logits(pictures)
    )
