"""The cross-modal probe against a plain loop over images and prompts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from clip_adapter.methods import (
    CrossModalProbe,
    FewShotTask,
    Fitted,
    LinearClassifier,
    ZeroShot,
    create_method,
)
from clip_adapter.training import SettingsError, TrainingSettings

MakeTask = Callable[..., FewShotTask]


def fit_one(method: CrossModalProbe | ZeroShot, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def weight_of(fitted: Fitted) -> np.ndarray:
    assert isinstance(fitted.classifier, LinearClassifier)
    return fitted.classifier.weight


def plain_training(task: FewShotTask, *, epochs: int, rate: float, decay: float) -> np.ndarray:
    """All images in a batch, each with the one prompt of its class."""
    labels = torch.from_numpy(task.train_labels)
    images = normalize(torch.from_numpy(task.train_features), dim=-1)
    prompts = normalize(torch.from_numpy(task.prompt_features[:, 0]), dim=-1)
    weight = torch.from_numpy(task.class_prototypes.copy()).requires_grad_()
    optimizer = torch.optim.AdamW([weight], lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    samples, targets = torch.cat([images, prompts[labels]]), torch.cat([labels, labels])
    for _ in range(epochs):
        optimizer.zero_grad()
        cross_entropy(20.0 * samples @ weight.T, targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return 20.0 * weight.detach().numpy()


def test_it_learns_what_a_plain_loop_learns(make_task: MakeTask) -> None:
    task = make_task(shots=4)
    training = TrainingSettings(epochs=12, batch_size=12, learning_rate=1e-3, weight_decay=0.1)
    found = weight_of(fit_one(CrossModalProbe(training=training), task))
    expected = plain_training(task, epochs=12, rate=1e-3, decay=0.1)
    assert np.abs(expected - 20.0 * task.class_prototypes).max() > 10 * 2e-3
    # A dozen steps of 1e-3, times the scale, in which Adam magnifies small gradients' rounding.
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_it_starts_as_zero_shot(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=4)
    training = TrainingSettings(epochs=1, learning_rate=1e-12)
    found = fit_one(CrossModalProbe(training=training), task).classifier.logits(pictures)
    frozen = fit_one(ZeroShot(), task).classifier.logits(pictures)
    np.testing.assert_allclose(found, frozen, atol=1e-5)  # the scale comes in at another place


def test_prompts_teach_what_no_image_shows(make_task: MakeTask) -> None:
    task = make_task(shots=2)
    # The images of class 0 look like class 1's: only its prompt can tell what it is.
    features = task.train_features.copy()
    features[task.train_labels == 0] = features[task.train_labels == 1]
    misled = replace(task, train_features=features)
    prompts = task.prompt_features[:, 0]
    training = TrainingSettings(epochs=200, learning_rate=0.01)
    scores = fit_one(CrossModalProbe(training=training), misled).classifier.logits(prompts)
    assert scores.argmax(axis=1).tolist() == [0, 1, 2]


def test_each_prompt_of_a_class_is_drawn(make_task: MakeTask) -> None:
    task = make_task(shots=4)
    # Had the second prompt never been drawn, nothing would depend on it beyond the start.
    both = np.concatenate([task.prompt_features, -task.prompt_features], axis=1)
    both[:, 1] *= np.float32(0.5)
    both[:, 1] += np.float32(1e-3)
    training = TrainingSettings(epochs=100, learning_rate=1e-3)
    start = {"prompt_features": task.prompt_features[:, [0, 0]]}
    one = fit_one(CrossModalProbe(training=training), replace(task, **start))
    two = fit_one(CrossModalProbe(training=training), replace(task, prompt_features=both))
    assert min(two.loss_curve) > 10 * min(one.loss_curve)


def test_without_epochs_the_steps_are_the_papers(make_task: MakeTask) -> None:
    training = TrainingSettings(recipe="fast", batch_size=4)
    method = CrossModalProbe(learning_rates=(1e-3,), training=training)
    # 6 images are 2 steps an epoch, of 200.
    assert fit_one(method, make_task(shots=2)).settings["epochs"] == 100


def test_every_pair_is_tried_and_the_chosen_one_told(make_task: MakeTask) -> None:
    training = TrainingSettings(epochs=5)
    method = CrossModalProbe(
        learning_rates=(1e-2, 1e-3), weight_decays=(0.0, 0.1), training=training
    )
    fitted = fit_one(method, make_task(shots=4, n_val=30))
    tried = [tuple(candidate.settings.values()) for candidate in fitted.candidates]
    assert tried == [(1e-2, 0.0, 1.0), (1e-2, 0.1, 1.0), (1e-3, 0.0, 1.0), (1e-3, 0.1, 1.0)]
    used = {name: fitted.settings[name] for name in ("learning_rate", "weight_decay")}
    assert {**used, "length": 1.0} in [candidate.settings for candidate in fitted.candidates]


def test_only_validation_chooses(make_task: MakeTask) -> None:
    task = make_task(shots=8, n_val=30)
    method = CrossModalProbe(learning_rates=(0.1, 1e-12), training=TrainingSettings(epochs=30))
    wrong = replace(task, val_labels=(task.val_labels + 1) % 3)
    # What is learned is right, so validation labels that are wrong want none of it.
    rates = [fit_one(method, each).settings["learning_rate"] for each in (task, wrong)]
    assert rates == [0.1, 1e-12]


def test_a_rate_given_to_the_training_leaves_nothing_to_choose(make_task: MakeTask) -> None:
    training = TrainingSettings(epochs=2, learning_rate=0.5)
    fitted = fit_one(CrossModalProbe(training=training), make_task(n_val=0))
    assert (fitted.selected_on, fitted.settings["learning_rate"]) == ("nothing", 0.5)


def test_a_rate_beyond_sense_is_told(make_task: MakeTask) -> None:
    training = TrainingSettings(learning_rate=1e15, weight_decay=1e15, epochs=5)
    with pytest.raises(SettingsError, match="lower the learning rate"):
        fit_one(CrossModalProbe(training=training), make_task())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rates": []}, r"learning_rates is \(\); expected one or more numbers"),
        ({"learning_rates": [0.0]}, "learning_rates is .*0.0"),
        ({"weight_decays": [-1.0]}, "weight_decays is .*-1.0"),
        ({"views": -1}, "views is -1; expected 0 or more"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        create_method("cross-modal-probe", settings)


def test_steps_that_no_number_of_epochs_makes_exactly_are_made_and_not_missed(
    make_task: MakeTask,
) -> None:
    # 72 images are three batches of 32: 1,280 steps lie between 426 and 427 epochs.
    training = TrainingSettings(recipe="fast")
    method = CrossModalProbe(learning_rates=(1e-3,), weight_decays=(0.0,), training=training)
    assert fit_one(method, make_task(shots=24)).settings["epochs"] == 427
