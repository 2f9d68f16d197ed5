"""CLAP against gradient descent by finite formulas in numpy, and its multipliers."""

from collections.abc import Callable

import numpy as np
import torch

from clip_adapter.methods import Clap, FewShotTask, ZeroShot
from clip_adapter.methods.fitting.clap import text_probabilities
from clip_adapter.methods.fitting.stacked_tasks import StackedTasks
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    scaled: np.ndarray = wide / np.linalg.norm(wide, axis=-1, keepdims=True)
    return scaled


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return chances


def multipliers(task: FewShotTask) -> np.ndarray:
    """The mean probability of the right class over the images of each class."""
    chances = softmax(task.logit_scale * unit(task.train_features) @ task.class_prototypes.T)
    return np.array(
        [
            np.mean(
                [
                    row[label]
                    for row, own in zip(chances, task.train_labels, strict=True)
                    if own == label
                ]
            )
            for label in range(len(task.class_names))
        ]
    )


def test_the_multipliers_are_zero_shots_probabilities(make_task: MakeTask) -> None:
    task = make_task(shots=4)
    (found,) = text_probabilities(StackedTasks.of([task])).numpy()
    np.testing.assert_allclose(found, multipliers(task), atol=1e-5)  # float32


def test_the_training_is_gradient_descent_on_the_penalised_loss(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task, length, rate, epochs = make_task(shots=4), 3.0, 0.2, 5
    settings = TrainingSettings(
        recipe="fast", epochs=epochs, batch_size=100, learning_rate=rate, momentum=0.0
    )
    (fitted,) = Clap(text_length=length, training=settings).fit([task])
    rows, labels = unit(task.train_features), task.train_labels
    text = length * task.class_prototypes.astype(np.float64)
    weights, multiplier = text.copy(), multipliers(task)
    for epoch in range(epochs):
        directions = unit(weights)
        errors = softmax(task.logit_scale * rows @ directions.T)
        errors[np.arange(len(labels)), labels] -= 1
        of_direction = task.logit_scale * errors.T @ rows / len(rows)
        # The derivative of w / |w| leaves what is orthogonal to w, over |w|.
        along = (of_direction * directions).sum(axis=1, keepdims=True) * directions
        gradient = (of_direction - along) / np.linalg.norm(weights, axis=1, keepdims=True)
        gradient += 2 * multiplier[:, None] * (weights - text) / len(text)
        weights -= rate * (1 + np.cos(np.pi * epoch / epochs)) / 2 * gradient
    expected = task.logit_scale * unit(pictures) @ unit(weights).T
    np.testing.assert_allclose(fitted.classifier.logits(pictures), expected, atol=1e-3)
    assert len(fitted.loss_curve) == epochs


def test_a_long_text_stays_zero_shot(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=4)
    training = TrainingSettings(recipe="fast", epochs=2)
    (fitted,) = Clap(text_length=1e4, training=training).fit([task])
    (zero_shot,) = ZeroShot().fit([task])
    np.testing.assert_allclose(
        fitted.classifier.logits(pictures), zero_shot.classifier.logits(pictures), atol=1e-2
    )


def test_nothing_is_chosen(make_task: MakeTask) -> None:
    (fitted,) = Clap(training=TrainingSettings(recipe="fast")).fit([make_task(shots=4)])
    assert (fitted.selected_on, fitted.candidates, fitted.held_out) == ("nothing", (), None)
    assert torch.isfinite(torch.tensor(fitted.loss_curve)).all()
