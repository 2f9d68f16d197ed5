"""What holds for every branch and every way to set the ratios."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from clip_adapter.methods import (
    AdapterClassifier,
    ClipAdapter,
    FewShotTask,
    Fitted,
    PrototypeClassifier,
    SavedClassifier,
    ZeroShot,
    load_classifier,
    save_classifier,
)
from clip_adapter.methods.clip_adapter import Branch, RatioMode
from clip_adapter.methods.selection import Selection
from clip_adapter.runs import RunSettings
from clip_adapter.training import SettingsError, TrainingSettings

MakeTask = Callable[..., FewShotTask]
PermuteClasses = Callable[[FewShotTask, Sequence[int]], FewShotTask]
TEN_EPOCHS = TrainingSettings(
    recipe="fast", optimizer="adamw", epochs=10, batch_size=4, learning_rate=1e-2
)
BRANCHES: Sequence[Branch] = get_args(Branch)
MODES: Sequence[tuple[RatioMode, Selection]] = [
    ("constant", "validation"),
    ("constant", "held-out-shots"),
    ("learned", "validation"),
    ("hypernetwork", "validation"),
]


@pytest.fixture(name="method", params=[(branch, mode) for branch in BRANCHES for mode in MODES])
def _method(request: pytest.FixtureRequest) -> ClipAdapter:
    branch, (mode, selection) = request.param
    return ClipAdapter(
        branch=branch,
        selection=selection,
        ratio_mode=mode,
        residual_ratios=(0.2, 0.6),
        text_residual_ratios=(0.4, 1.0),
        training=TEN_EPOCHS,
    )


@pytest.fixture(name="branch", params=BRANCHES)
def _branch(request: pytest.FixtureRequest) -> Branch:
    branch: Branch = request.param
    return branch


def fit_one(method: ClipAdapter | ZeroShot, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def test_what_is_trained_together_ends_where_it_ends_alone(
    method: ClipAdapter, make_task: MakeTask, pictures: np.ndarray
) -> None:
    tasks = [make_task(seed=seed, shots=shots) for shots, seed in ((4, 1), (2, 2), (4, 2))]
    for task, found in zip(tasks, method.fit(tasks), strict=True):
        expected = fit_one(method, task)
        # Float32 products of another size, carried through ten epochs at a logit scale of 20.
        np.testing.assert_allclose(
            found.classifier.logits(pictures), expected.classifier.logits(pictures), atol=1e-3
        )
        assert found.settings == pytest.approx(expected.settings, abs=1e-4)
        assert found.selected_on == expected.selected_on


def test_permuting_the_classes_permutes_the_logits(
    method: ClipAdapter,
    make_task: MakeTask,
    permute_classes: PermuteClasses,
    pictures: np.ndarray,
) -> None:
    task, order = make_task(n_classes=4), [2, 0, 3, 1]
    found = fit_one(method, permute_classes(task, order)).classifier.logits(pictures)
    # Sums over classes are added up in another order, in float32, at each step.
    expected = fit_one(method, task).classifier.logits(pictures)[:, order]
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_the_norm_of_each_raw_feature_does_not_matter(
    method: ClipAdapter, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task()

    def scaled(features: np.ndarray) -> np.ndarray:
        stretched: np.ndarray = features * np.geomspace(0.01, 100.0, len(features))[:, None]
        return stretched.astype(np.float32)

    other = replace(
        task,
        train_features=scaled(task.train_features),
        val_features=scaled(task.val_features),
    )
    found, expected = fit_one(method, other), fit_one(method, task)
    # Float32 rounding, carried through a training.
    np.testing.assert_allclose(
        found.classifier.logits(scaled(pictures)),
        expected.classifier.logits(pictures),
        atol=1e-2,
    )
    assert found.settings == pytest.approx(expected.settings, abs=1e-3)


def test_a_form_comes_back_from_its_file(
    method: ClipAdapter, make_task: MakeTask, pictures: np.ndarray, tmp_path: Path
) -> None:
    fitted = fit_one(method, make_task())
    saved = SavedClassifier(
        classifier=fitted.classifier, method=method.name, settings=fitted.settings
    )
    save_classifier(saved, tmp_path / "it.safetensors")
    found = load_classifier(tmp_path / "it.safetensors")
    assert found.settings == fitted.settings
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), fitted.classifier.logits(pictures)
    )


def test_the_record_has_the_ratios_of_the_branches_there_are(
    method: ClipAdapter, make_task: MakeTask
) -> None:
    settings = fit_one(method, make_task()).settings
    assert ("residual_ratio" in settings) == (method.branch != "text")
    assert ("text_residual_ratio" in settings) == (method.branch != "visual")
    assert (settings["branch"], settings["ratio_mode"]) == (method.branch, method.ratio_mode)
    columns = {field.name for field in dataclasses.fields(RunSettings)}
    assert set(settings) - columns == {"stopped_epoch"}


def test_what_chose_is_told(method: ClipAdapter, make_task: MakeTask) -> None:
    fitted = fit_one(method, make_task())
    chosen_by = {"validation": "validation", "held-out-shots": "held-out shots"}
    constant = method.ratio_mode == "constant"
    assert fitted.selected_on == (chosen_by[method.selection] if constant else "training")
    grid = 4 if method.branch == "both" else 2
    assert len(fitted.candidates) == (0 if fitted.selected_on == "training" else grid)


def test_progress_adds_up_to_one(method: ClipAdapter, make_task: MakeTask) -> None:
    reported: list[float] = []
    tasks = [make_task(seed=seed, shots=shots) for shots in (2, 5) for seed in (1, 2)]
    method.fit(tasks, progress=reported.append)
    assert all(fraction > 0 for fraction in reported)
    assert sum(reported) == pytest.approx(1.0)


def test_every_form_follows_the_training_images(method: ClipAdapter, make_task: MakeTask) -> None:
    task = make_task(shots=16)
    method = replace(method, training=TrainingSettings(recipe="fast", epochs=30))
    found = fit_one(method, task).classifier.logits(task.train_features)
    before = fit_one(ZeroShot(), task).classifier.logits(task.train_features)
    right = (found.argmax(axis=1) == task.train_labels).mean()
    assert right > (before.argmax(axis=1) == task.train_labels).mean()
    assert right > 0.85


def test_ratio_zero_is_zero_shot_bit_for_bit(
    branch: Branch, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task()
    still = ClipAdapter(
        branch=branch, residual_ratios=(0.0,), text_residual_ratios=(0.0,), training=TEN_EPOCHS
    )
    found = fit_one(still, task)
    assert found.selected_on == "nothing"
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), fit_one(ZeroShot(), task).classifier.logits(pictures)
    )


def test_the_text_branch_ends_in_prototypes(branch: Branch, make_task: MakeTask) -> None:
    task = make_task()
    found = fit_one(ClipAdapter(branch=branch, training=TEN_EPOCHS), task).classifier
    assert isinstance(found, PrototypeClassifier if branch == "text" else AdapterClassifier)
    same = np.array_equal(found.class_prototypes, task.class_prototypes)
    assert same == (branch == "visual")


def test_beside_a_visual_branch_fewer_text_ratios_are_tried(
    branch: Branch, make_task: MakeTask
) -> None:
    method = ClipAdapter(branch=branch, training=replace(TEN_EPOCHS, epochs=1))
    fitted = fit_one(method, make_task())
    assert len(fitted.candidates) == {"visual": 6, "text": 6, "both": 18}[branch]


def test_the_form_without_an_output_activation_is_another(
    branch: Branch, make_task: MakeTask, pictures: np.ndarray
) -> None:
    one = ClipAdapter(
        branch=branch, residual_ratios=(0.6,), text_residual_ratios=(0.6,), training=TEN_EPOCHS
    )
    other = replace(one, output_activation=False)
    first, second = (fit_one(method, make_task()).classifier for method in (one, other))
    assert not np.allclose(first.logits(pictures), second.logits(pictures), atol=1e-2)


def test_augmented_views_take_the_place_of_the_image(
    branch: Branch, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task()
    method = ClipAdapter(
        branch=branch, residual_ratios=(0.6,), text_residual_ratios=(0.6,), training=TEN_EPOCHS
    )
    viewed = replace(task, train_views=task.train_features[None])
    expected = fit_one(method, task).classifier.logits(pictures)
    # A single view that is the image itself is visited in the order of the image.
    found = fit_one(replace(method, views=1), viewed)
    np.testing.assert_array_equal(found.classifier.logits(pictures), expected)
    assert found.settings["views"] == 1
    turned = replace(task, train_views=task.train_features[None, ::-1].copy())
    other = fit_one(replace(method, views=1), turned).classifier.logits(pictures)
    assert not np.allclose(other, expected, atol=1e-2)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8, 16])
def test_a_bottleneck_is_as_wide_as_the_reduction_says(make_task: MakeTask, reduction: int) -> None:
    method = ClipAdapter(residual_ratios=(0.6,), reduction=reduction, training=TEN_EPOCHS)
    found = fit_one(method, make_task()).classifier
    assert isinstance(found, AdapterClassifier)
    assert found.down.shape == (16 // reduction, 16)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"residual_ratios": ()}, r"residual_ratios is \(\); expected one or more"),
        ({"text_residual_ratios": (0.2, 1.5)}, r"text_residual_ratios is \(0.2, 1.5\)"),
        ({"text_residual_ratios": (float("nan"),)}, "from 0 to 1"),
        ({"reduction": 0}, "reduction is 0; expected 1 or more"),
        ({"views": -1}, "views is -1; expected 0 or more"),
    ],
)
def test_a_setting_outside_its_range_is_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ClipAdapter(**wrong)  # type: ignore[arg-type]
