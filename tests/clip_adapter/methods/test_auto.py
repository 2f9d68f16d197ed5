"""Blends of methods: what chooses, what is taken, and what is said of it."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save
from scipy.optimize import minimize

from clip_adapter.errors import DataError, SettingsError
from clip_adapter.methods import (
    Auto,
    BlendedClassifier,
    ClipAdapterGda,
    FewShotTask,
    Fitted,
    Method,
    SavedClassifier,
    create_method,
    decode_classifier,
    encode_classifier,
    folds,
)
from clip_adapter.methods.fitting.blend import fit_blend
from clip_adapter.methods.saved_classifier import KEY

MakeTask = Callable[..., FewShotTask]
EQUAL = (0.5, 0.5)
PARTS = ("zero_shot", "ridge_to_text", "proker", "gda", "clip_adapter")


def fit_one(method: Method, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def shares(fitted: Fitted) -> dict[str, float]:
    return {name: fitted.settings[f"share_{name}"] for name in PARTS}


def drawn_scores(*skills: float, n: int = 60) -> tuple[list[np.ndarray], np.ndarray]:
    """Noisy logits of four classes, and the labels; the more skill, the more often right."""
    random = np.random.default_rng(0)
    labels = random.integers(4, size=n)
    scores = [
        skill * np.eye(4)[labels] + random.normal(size=(n, 4)).astype(np.float32)
        for skill in skills
    ]
    return [each.astype(np.float32) for each in scores], labels


def smoothed_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Cross-entropy with smoothed labels, image by image."""
    n, c = scores.shape
    total = 0.0
    for row, label in zip(scores.astype(np.float64), labels, strict=True):
        logs = row - row.max() - np.log(np.exp(row - row.max()).sum())
        total -= (1 - 1 / (n + 2)) * logs[label] + logs.sum() / (n + 2) / c
    return total / n


@pytest.mark.parametrize("shrinkage", [0.5, 20.0])
def test_the_weights_are_those_of_a_search_without_gradients(shrinkage: float) -> None:
    scores, labels = drawn_scores(3.0, 1.5)
    factors = [
        minimize(
            lambda x, each=each: smoothed_loss(np.exp(x[0]) * each, labels), [0.0], method="Powell"
        ).x[0]
        for each in scores
    ]
    calibrated = [np.exp(factor) * each for factor, each in zip(factors, scores, strict=True)]

    def objective(weights: np.ndarray) -> float:
        blended = sum(weight * each for weight, each in zip(weights, calibrated, strict=True))
        pull = shrinkage * 2 / 60 * ((weights - 0.5) ** 2).sum()
        return smoothed_loss(np.asarray(blended), labels) + float(pull)

    expected = minimize(objective, [0.5, 0.5], method="Nelder-Mead", tol=1e-9).x
    found = fit_blend(scores, labels, towards=EQUAL, shrinkage=shrinkage)
    # Both searches stop near the minimum, where the loss is flat.
    np.testing.assert_allclose(found.weights, expected * np.exp(factors), rtol=1e-3)
    np.testing.assert_allclose(found.shares, expected / expected.sum(), rtol=1e-3)


def test_what_knows_nothing_has_no_weight() -> None:
    scores, labels = drawn_scores(4.0, 0.0, n=400)
    informed, ignorant = fit_blend(scores, labels, towards=EQUAL, shrinkage=1.0).weights
    assert ignorant < 0.05 * informed


def test_images_that_are_all_right_leave_the_weights_finite_and_nearly_equal() -> None:
    scores, labels = drawn_scores(30.0, 40.0)
    found = fit_blend(scores, labels, towards=EQUAL, shrinkage=3.0)
    assert max(found.weights) < 5
    assert found.shares == pytest.approx((0.5, 0.5), abs=0.1)


def test_a_strong_pull_leaves_the_shares_that_are_given() -> None:
    scores, labels = drawn_scores(4.0, 0.0, 1.0)
    found = fit_blend(scores, labels, towards=(0.2, 0.5, 0.3), shrinkage=1e6)
    assert found.shares == pytest.approx((0.2, 0.5, 0.3), abs=1e-3)


def test_scaling_the_logits_of_a_part_changes_no_blend() -> None:
    scores, labels = drawn_scores(3.0, 1.5)
    found = fit_blend(scores, labels, towards=EQUAL, shrinkage=3.0)
    scaled = fit_blend([scores[0] * np.float32(4), scores[1]], labels, towards=EQUAL, shrinkage=3.0)
    assert scaled.weights[0] * 4 == pytest.approx(found.weights[0], rel=1e-3)
    assert scaled.weights[1] == pytest.approx(found.weights[1], rel=1e-3)


def test_logits_that_are_not_finite_are_refused() -> None:
    scores, labels = drawn_scores(3.0, 1.5)
    scores[0][0, 0] = np.nan
    with pytest.raises(DataError, match="NaN or infinite"):
        fit_blend(scores, labels, towards=EQUAL, shrinkage=3.0)


def test_one_shot_takes_stated_defaults_and_says_so(make_task: MakeTask) -> None:
    found = fit_one(Auto(), make_task(shots=1, n_val=0))
    assert found.selected_on == "nothing"
    assert (found.candidates, found.held_out) == ((), None)
    taken = {name for name, share in shares(found).items() if share}
    assert taken == {"ridge_to_text", "proker", "clip_adapter"}
    assert found.explanation == (
        "the mean of the logits of ridge-to-text and proker and clip-adapter with their defaults, as at "
        "1 shot a class no image can be held out"
    )
    assert "as asked for" in fit_one(Auto(selection="none"), make_task(shots=4)).explanation


def test_held_out_shots_weigh_the_methods_and_zero_shot_is_among_them(make_task: MakeTask) -> None:
    task = make_task(shots=4, n_val=0)
    found = fit_one(Auto(), task)
    assert found.selected_on == "held-out shots"
    assert sum(shares(found).values()) == pytest.approx(1, abs=0.03)  # of rounding to two decimals
    assert isinstance(found.classifier, BlendedClassifier)
    assert {"gda_alpha", "proker_beta", "ridge_to_text_penalty", "clip_adapter_length"} <= set(
        found.settings
    )
    assert found.explanation.startswith("a blend of ")
    assert "of 12 held-out shots, where" in found.explanation
    assert found.held_out is not None
    np.testing.assert_array_equal(
        found.held_out.labels, np.concatenate([fold.val_labels for fold in folds(task)])
    )
    np.testing.assert_array_equal(
        found.held_out.labels, task.train_labels[np.concatenate(found.held_out.rows)]
    )
    right = (found.held_out.logits.argmax(axis=1) == found.held_out.labels).mean()
    assert right == pytest.approx(found.candidates[0].validation_accuracy)


def test_validation_images_are_added_to_the_held_out_shots(make_task: MakeTask) -> None:
    task = make_task(shots=2, n_val=9)
    both = fit_one(Auto(), task)
    assert both.selected_on == "validation"
    assert "of 6 held-out shots and 9 validation images, where" in both.explanation
    assert both.held_out is not None
    assert len(both.held_out.labels) == 6
    alone = fit_one(Auto(), make_task(shots=1, n_val=9))
    assert alone.selected_on == "validation"
    assert alone.held_out is None
    assert "of 9 validation images" in alone.explanation


def test_held_out_shots_alone_leave_validation_images_unread(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3)
    wrong = replace(task, val_labels=(task.val_labels + 1) % 3, val_features=-task.val_features)
    found, same = (fit_one(Auto(selection="held-out-shots"), each) for each in (task, wrong))
    assert found.settings == same.settings
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), same.classifier.logits(pictures)
    )


def test_classes_of_one_image_are_no_obstacle(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=4, n_val=0)
    kept = np.r_[np.flatnonzero(task.train_labels == 0)[:1], np.flatnonzero(task.train_labels > 0)]
    few = replace(
        task, train_features=task.train_features[kept], train_labels=task.train_labels[kept]
    )
    found = fit_one(Auto(), few)
    assert found.held_out is not None
    assert set(found.held_out.labels.tolist()) == {1, 2}
    assert np.isfinite(found.classifier.logits(pictures)).all()


def test_features_narrower_than_the_reduction_are_taken(pictures: np.ndarray) -> None:
    narrow = np.float32(pictures[:12, :2])
    task = FewShotTask(
        train_features=narrow,
        train_labels=np.arange(12) % 3,
        val_features=narrow[:0],
        val_labels=np.arange(0),
        prompt_features=narrow[:3, None],
        logit_scale=20.0,
        class_names=("a", "b", "c"),
        shots=4,
        seed=1,
    )
    assert np.isfinite(fit_one(Auto(), task).classifier.logits(narrow)).all()


def test_clip_adapter_with_gda_is_a_blend_of_the_two_and_zero_shot(make_task: MakeTask) -> None:
    found = fit_one(ClipAdapterGda(), make_task(shots=4))
    of_parts = {name for name in found.settings if name.startswith("share_")}
    assert of_parts == {"share_zero_shot", "share_clip_adapter", "share_gda"}


def test_a_shrinkage_below_zero_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"shrinkage is .*from 0 up"):
        create_method("auto", {"shrinkage": -1.0})


Change = Callable[[dict[str, np.ndarray], dict[str, object]], object]


def values_of(metadata: dict[str, object]) -> dict[str, list[dict[str, dict[str, object]]]]:
    values = metadata["values"]
    assert isinstance(values, dict)
    return values


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _, metadata: values_of(metadata).update(weights=[1.0]), "has the weights"),
        (lambda _, metadata: values_of(metadata).update(parts=[]), "1 to 100"),
        (lambda _, metadata: values_of(metadata).update(parts=3), "1 to 100"),
        (
            lambda _, metadata: values_of(metadata)["parts"][0].update(kind="BlendedClassifier"),
            "blend",
        ),
        (lambda _, metadata: values_of(metadata)["parts"][0].update(kind="Pickle"), "holds no"),
        (
            lambda _, metadata: values_of(metadata)["parts"][0]["values"].update(
                class_names=["a", "b", "c"]
            ),
            "differ in class_names",
        ),
        (
            lambda arrays, _: arrays.update({"9.bias": np.zeros(3, np.float32)}),
            "belongs to no part",
        ),
        (
            lambda arrays, _: arrays.update({"x.bias": np.zeros(3, np.float32)}),
            "belongs to no part",
        ),
        (lambda arrays, _: arrays.pop(next(iter(arrays))), "arrays"),
    ],
)
def test_a_file_of_a_blend_that_does_not_fit_together_is_refused(
    change: Change, reason: str, make_task: MakeTask
) -> None:
    fitted = fit_one(ClipAdapterGda(), make_task(shots=2))
    content = encode_classifier(
        SavedClassifier(classifier=fitted.classifier, method="it", settings=fitted.settings)
    )
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][KEY])
    arrays = load(content)
    change(arrays, metadata)
    changed = save(arrays, metadata={KEY: json.dumps(metadata)})
    with pytest.raises(DataError, match=reason):
        decode_classifier(changed, source="it")


def test_a_kernel_of_too_many_images_has_no_part(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tasks are fitted in one call, in which the first is small enough."""
    monkeypatch.setattr("clip_adapter.methods.auto.MOST_KERNEL_IMAGES", 8)
    small, large = (make_task(shots=shots, n_val=0) for shots in (2, 4))
    first, second = Auto().fit([small, large])
    assert {"share_proker", "proker_beta"} <= set(first.settings)
    assert not [name for name in second.settings if "proker" in name]
    assert "proker" not in second.explanation
    pictures = small.train_features
    alone = fit_one(Auto(), large)
    np.testing.assert_array_equal(
        alone.classifier.logits(pictures), second.classifier.logits(pictures)
    )
    without_choice = fit_one(Auto(selection="none"), large)
    assert without_choice.explanation.startswith(
        "the mean of the logits of ridge-to-text and clip-adapter"
    )
    assert without_choice.settings["share_gda"] == 0
    assert without_choice.settings["share_clip_adapter"] == 0.5
