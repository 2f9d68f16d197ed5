"""TaskRes against a plain loop, and its residual where it must do nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clip_adapter.methods import (
    FewShotTask,
    Fitted,
    PrototypeClassifier,
    TaskRes,
    ZeroShot,
    create_method,
)
from clip_adapter.training import SettingsError, TrainingSettings

MakeTask = Callable[..., FewShotTask]
SHORT = TrainingSettings(epochs=12)


def fit_one(method: TaskRes | ZeroShot, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def plain_training(task: FewShotTask, *, alpha: float, length: float) -> np.ndarray:
    """The paper's training of text features that long, all images in a batch, 12 epochs."""
    images = normalize(torch.from_numpy(task.train_features), dim=-1)
    labels = torch.from_numpy(task.train_labels)
    base = length * torch.from_numpy(task.class_prototypes)
    residual = torch.zeros_like(base, requires_grad=True)
    optimizer = torch.optim.Adam([residual], lr=1e-5, weight_decay=5e-4)
    for epoch in range(12):
        rate = 2e-3 * (1 + np.cos(np.pi * (epoch - 1) / 12)) / 2 if epoch else 1e-5
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        text = normalize(base + alpha * residual, dim=-1)
        cross_entropy(20.0 * images @ text.T, labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return normalize(base + alpha * residual, dim=-1).detach().numpy()


@pytest.mark.parametrize("length", [1.0, 10.0])
def test_it_learns_what_the_papers_learns_at_an_alpha_as_much_larger_as_its_text_is_long(
    make_task: MakeTask, length: float
) -> None:
    task = make_task(shots=4)
    classifier = fit_one(TaskRes(alphas=(0.5 / length,), training=SHORT), task).classifier
    assert isinstance(classifier, PrototypeClassifier)
    expected = plain_training(task, alpha=0.5, length=length)
    assert np.abs(expected - task.class_prototypes).max() > 10 * 1e-4
    # A dozen steps of at most 2e-3, in which Adam magnifies the rounding of small gradients.
    np.testing.assert_allclose(classifier.class_prototypes, expected, atol=1e-4)


def test_a_residual_of_no_weight_is_zero_shot(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=4)
    found = fit_one(TaskRes(alphas=(0.0,), training=SHORT), task).classifier.logits(pictures)
    frozen = fit_one(ZeroShot(), task).classifier.logits(pictures)
    np.testing.assert_allclose(found, frozen, atol=1e-5)  # scaled to length 1 once more


def test_every_alpha_of_a_grid_ends_where_it_ends_alone(make_task: MakeTask) -> None:
    task = make_task(shots=4, n_val=30)
    alphas = (0.1, 1.0)
    together = fit_one(TaskRes(alphas=alphas, training=SHORT), task)
    for alpha, candidate in zip(alphas, together.candidates, strict=True):
        alone = fit_one(TaskRes(alphas=(alpha,), training=SHORT), task)
        assert candidate.settings == {"alpha": alpha, "length": 1.0}
        scores = alone.classifier.logits(task.val_features)
        right = scores.argmax(axis=1) == task.val_labels
        assert candidate.validation_accuracy == right.mean()


def test_only_validation_chooses(make_task: MakeTask) -> None:
    task = make_task(shots=8, n_val=30)
    method = TaskRes(alphas=(0.0, 1.0), training=SHORT)
    wrong = replace(task, val_labels=(task.val_labels + 1) % 3)
    # What is learned is right, so validation labels that are wrong want none of it.
    assert [fit_one(method, each).settings["alpha"] for each in (task, wrong)] == [1.0, 0.0]


def test_the_length_is_the_papers_by_shots(make_task: MakeTask) -> None:
    lengths = [
        fit_one(TaskRes(alphas=(0.5,)), make_task(shots=shots)).settings["epochs"]
        for shots in (1, 4, 8)
    ]
    assert lengths == [100, 100, 200]


def test_a_rate_beyond_sense_is_told(make_task: MakeTask) -> None:
    # Only directions count, so that it takes a residual beyond float32.
    method = TaskRes(alphas=(1e38,), training=TrainingSettings(learning_rate=1e15, epochs=3))
    with pytest.raises(SettingsError, match="lower the learning rate"):
        fit_one(method, make_task())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alphas": []}, r"alphas is \(\); expected one or more numbers from 0 up"),
        ({"alphas": [-0.1]}, "alphas is .*-0.1"),
        ({"views": -1}, "views is -1; expected 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method("task-res", settings)


@pytest.mark.parametrize("alphas", [(0.01, 5.0), (5.0, 0.01)])
def test_the_loss_curve_is_that_of_the_chosen_alpha(
    make_task: MakeTask, alphas: tuple[float, ...]
) -> None:
    task = make_task()
    fitted = fit_one(TaskRes(alphas=alphas, training=SHORT), task)
    curve_of = {
        alpha: fit_one(TaskRes(alphas=(alpha,), training=SHORT), task).loss_curve
        for alpha in alphas
    }
    alpha = fitted.settings["alpha"]
    (other,) = set(alphas) - {alpha}
    # Trained together, a model ends where it ends alone up to rounding.
    assert fitted.loss_curve == pytest.approx(curve_of[alpha], rel=1e-4)
    assert fitted.loss_curve != pytest.approx(curve_of[other], rel=1e-3)
