"""CLIP-Adapter: a plain loop in the test, the ends of the ratio, and an honest choice."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from clip_adapter.errors import SettingsError
from clip_adapter.methods import ClipAdapter, FewShotTask, Fitted, ZeroShot
from clip_adapter.methods.clip_adapter import recipes_for
from clip_adapter.methods.fitting.clip_adapter import AdapterCandidate, untrained
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]
TEN_EPOCHS = TrainingSettings(
    recipe="fast", optimizer="adamw", epochs=10, batch_size=4, learning_rate=1e-2
)


def fit_one(method: ClipAdapter | ZeroShot, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def plain_loop(
    task: FewShotTask, training: TrainingSettings, *, ratio: float
) -> Callable[[np.ndarray], np.ndarray]:
    """CLIP-Adapter as one would write it in an afternoon, one adapter at a time."""
    torch.manual_seed(task.seed)
    dim = task.train_features.shape[1]
    down, up = nn.Linear(dim, dim // 4, bias=False), nn.Linear(dim // 4, dim, bias=False)
    bottleneck = nn.Sequential(down, nn.ReLU(), up, nn.ReLU())
    prototypes = torch.tensor(task.class_prototypes)
    prototypes = prototypes / prototypes.norm(dim=1, keepdim=True)

    def scores(features: torch.Tensor) -> torch.Tensor:
        blended = ratio * bottleneck(features) + (1 - ratio) * features
        directions = blended / blended.norm(dim=1, keepdim=True).clamp_min(1e-12)
        cosines: torch.Tensor = directions @ prototypes.T
        return task.logit_scale * cosines

    images, labels = torch.tensor(task.train_features), torch.tensor(task.train_labels)
    settled = training.resolve(recipes_for(task.shots), shots=task.shots)
    optimizer = torch.optim.AdamW(
        bottleneck.parameters(), lr=settled.learning_rate, weight_decay=settled.weight_decay
    )
    steps = settled.epochs * math.ceil(len(images) / settled.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / steps)) / 2
    )
    visits = torch.Generator().manual_seed(task.seed)
    for _ in range(settled.epochs):
        order = torch.randperm(len(images), generator=visits)
        for batch in torch.split(order, settled.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(scores(images[batch]), labels[batch])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()

    def classify(features: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found: np.ndarray = scores(torch.tensor(features)).numpy()
        return found

    return classify


@pytest.mark.parametrize("ratio", [0.2, 0.6, 1.0])
def test_an_adapter_ends_where_a_plain_loop_ends(
    make_task: MakeTask, pictures: np.ndarray, ratio: float
) -> None:
    # 10 images in batches of 4: the last one is smaller.
    task = make_task(shots=2, n_classes=5, seed=3)
    method = ClipAdapter(residual_ratios=(ratio,), training=TEN_EPOCHS)
    found = fit_one(method, task).classifier.logits(pictures)
    with torch.random.fork_rng():
        expected = plain_loop(task, TEN_EPOCHS, ratio=ratio)(pictures)
    assert not np.allclose(
        expected, fit_one(ZeroShot(), task).classifier.logits(pictures), atol=0.1
    )
    # 30 steps of float32, in which AdamW makes a rounding of a small gradient a larger step; the
    # logits are of size 20.
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_many_tasks_and_ratios_at_once_end_as_one_by_one(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    tasks = [make_task(seed=seed, shots=shots) for shots in (1, 2, 5) for seed in (1, 2, 3)]
    ratios = (0.0, 0.2, 0.6, 1.0)
    together = ClipAdapter(residual_ratios=ratios, training=TEN_EPOCHS).fit(tasks)
    for task, found in zip(tasks, together, strict=True):
        alone = [
            fit_one(ClipAdapter(residual_ratios=(ratio,), training=TEN_EPOCHS), task)
            for ratio in ratios
        ]
        chosen = alone[ratios.index(float(found.settings["residual_ratio"]))]
        # Products of another size round otherwise: as above.
        np.testing.assert_allclose(
            found.classifier.logits(pictures), chosen.classifier.logits(pictures), atol=1e-3
        )
        assert found.loss_curve == pytest.approx(chosen.loss_curve, abs=1e-3)


def test_tasks_with_prototypes_of_their_own_may_be_fitted_together(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    one = make_task(seed=1)
    other = replace(one, prompt_features=one.prompt_features[::-1].copy())
    sharper = replace(one, logit_scale=50.0)
    method = ClipAdapter(residual_ratios=(0.6,), training=TEN_EPOCHS)
    for task, found in zip([one, other, sharper], method.fit([one, other, sharper]), strict=True):
        expected = fit_one(method, task).classifier.logits(pictures)
        np.testing.assert_allclose(found.classifier.logits(pictures), expected, atol=1e-3)


def test_ratio_zero_is_zero_shot_bit_for_bit(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task()
    still = fit_one(ClipAdapter(residual_ratios=(0.0,), training=TEN_EPOCHS), task)
    np.testing.assert_array_equal(
        still.classifier.logits(pictures), fit_one(ZeroShot(), task).classifier.logits(pictures)
    )


def test_another_seed_gives_another_adapter(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task()
    method = ClipAdapter(residual_ratios=(0.6,), training=TEN_EPOCHS)
    one, other = method.fit([task, replace(task, seed=task.seed + 1)])
    assert not np.allclose(one.classifier.logits(pictures), other.classifier.logits(pictures))


def test_every_ratio_starts_from_the_same_weights(make_task: MakeTask) -> None:
    method = ClipAdapter()
    task = make_task()
    candidates = [AdapterCandidate(task=task, ratios=point) for point in method.grid(task)]
    branch = untrained(method, candidates).visual
    assert branch is not None
    assert len(branch.down) == len(candidates)
    assert all(torch.equal(branch.down[0], other) for other in branch.down)
    assert all(torch.equal(branch.up[0], other) for other in branch.up)


def test_the_record_names_every_setting_as_it_was_used(make_task: MakeTask) -> None:
    fitted = fit_one(
        ClipAdapter(residual_ratios=(0.6,), reduction=2, selection="none"), make_task(shots=1)
    )
    assert fitted.settings == {
        "branch": "visual",
        "ratio_mode": "constant",
        "residual_ratio": 0.6,
        "reduction": 2,
        "output_activation": True,
        "views": 0,
        "recipe": "paper",
        "optimizer": "sgd",
        "epochs": 50,
        "stopped_epoch": 50,
        "batch_size": 32,
        "learning_rate": 2e-3,
        "weight_decay": 5e-4,
        "momentum": 0.9,
    }
    assert len(fitted.loss_curve) == 50
    assert fitted.loss_curve[-1] < fitted.loss_curve[0]
    assert fitted.seconds > 0


def test_the_candidates_stand_in_the_order_of_the_ratios(make_task: MakeTask) -> None:
    ratios = (0.8, 0.2, 0.4)
    fitted = fit_one(ClipAdapter(residual_ratios=ratios, training=TEN_EPOCHS), make_task())
    assert tuple(candidate.settings["residual_ratio"] for candidate in fitted.candidates) == ratios


def contradicted(task: FewShotTask) -> FewShotTask:
    """Training labels that say the opposite of the prototypes: only an adapter can follow them."""
    return replace(task, prompt_features=task.prompt_features[[1, 2, 0]].copy())


def test_validation_labels_choose_the_ratio(make_task: MakeTask) -> None:
    method = ClipAdapter(
        residual_ratios=(0.0, 1.0), training=TrainingSettings(epochs=50, learning_rate=1e-2)
    )
    task = contradicted(make_task(shots=8))
    as_clip_sees = fit_one(ZeroShot(), task).classifier.logits(task.val_features).argmax(axis=1)
    followed = fit_one(method, task)
    ignored = fit_one(method, replace(task, val_labels=as_clip_sees))
    assert followed.settings["residual_ratio"] == 1.0
    assert ignored.settings["residual_ratio"] == 0.0
    assert followed.selected_on == ignored.selected_on == "validation"


def test_validation_changes_no_weight(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task()
    other = replace(task, val_features=task.val_features[::-1], val_labels=task.val_labels * 0)
    method = ClipAdapter(residual_ratios=(0.6,), training=TEN_EPOCHS)
    one, another = fit_one(method, task), fit_one(method, other)
    assert one.selected_on == another.selected_on == "nothing"
    np.testing.assert_array_equal(
        one.classifier.logits(pictures), another.classifier.logits(pictures)
    )


def test_without_validation_images_a_single_ratio_is_fitted(make_task: MakeTask) -> None:
    fitted = fit_one(ClipAdapter(residual_ratios=(0.6,)), make_task(n_val=0, shots=1))
    assert fitted.candidates == ()


def test_a_reduction_wider_than_the_features_is_refused(make_task: MakeTask) -> None:
    with pytest.raises(SettingsError, match="choose a reduction from 1 to 16"):
        fit_one(ClipAdapter(reduction=17), make_task())


def test_an_absurd_learning_rate_is_said_to_diverge(make_task: MakeTask) -> None:
    absurd = TrainingSettings(learning_rate=1e8, epochs=10, batch_size=4)
    with pytest.raises(SettingsError, match="lower the learning rate"):
        fit_one(ClipAdapter(training=absurd), make_task())


def test_the_share_of_progress_follows_the_work(make_task: MakeTask) -> None:
    reported: list[float] = []
    training = TrainingSettings(epochs=1)
    tasks = [make_task(shots=1), make_task(shots=9)]
    ClipAdapter(residual_ratios=(0.2, 0.6), training=training).fit(tasks, progress=reported.append)
    assert reported == pytest.approx([0.1, 0.9])  # 3 images, then 27
