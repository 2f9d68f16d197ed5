"""Ratios chosen on shots that were left out, without a validation set."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clip_adapter.methods import ClipAdapter, DataError, FewShotTask, Fitted
from clip_adapter.methods.clip_adapter import Branch
from clip_adapter.methods.fitting.grid_search import folds
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]
TEN_EPOCHS = TrainingSettings(
    recipe="fast", optimizer="adamw", epochs=10, batch_size=4, learning_rate=1e-2
)
HELD_OUT = ClipAdapter(
    ratio_mode="held-out-shots", residual_ratios=(0.0, 0.4, 1.0), training=TEN_EPOCHS
)


def fit_one(method: ClipAdapter, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


@pytest.mark.parametrize(("shots", "n_folds"), [(2, 2), (3, 3), (4, 4), (9, 4)])
def test_each_fold_leaves_one_other_image_of_each_class_out(
    make_task: MakeTask, shots: int, n_folds: int
) -> None:
    task = make_task(shots=shots)
    found = folds(task)
    assert len(found) == n_folds
    left_out = np.concatenate([fold.val_features for fold in found])
    assert len(np.unique(left_out, axis=0)) == n_folds * 3
    for fold in found:
        assert sorted(fold.val_labels) == [0, 1, 2]
        assert len(fold.train_labels) == (shots - 1) * 3
        both = np.concatenate([fold.train_features, fold.val_features])
        labels = np.concatenate([fold.train_labels, fold.val_labels])
        label_of = {row.tobytes(): label for row, label in zip(both, labels, strict=True)}
        for row, label in zip(task.train_features, task.train_labels, strict=True):
            assert label_of[row.tobytes()] == label


def test_the_views_of_an_image_go_with_it(make_task: MakeTask) -> None:
    task = make_task(shots=3)
    viewed = replace(task, train_views=np.stack([task.train_features, -task.train_features]))
    for fold in folds(viewed):
        assert fold.train_views is not None
        np.testing.assert_array_equal(fold.train_views[0], fold.train_features)
        np.testing.assert_array_equal(fold.train_views[1], -fold.train_features)


def test_there_are_as_many_folds_as_the_smallest_class_has_images(make_task: MakeTask) -> None:
    task = make_task(shots=5)
    keep = np.ones(len(task.train_labels), dtype=bool)
    keep[np.flatnonzero(task.train_labels == 1)[:3]] = False
    few = replace(
        task, train_features=task.train_features[keep], train_labels=task.train_labels[keep]
    )
    assert len(folds(few)) == 2


def test_validation_is_never_read(make_task: MakeTask, pictures: np.ndarray) -> None:
    task = make_task(shots=3)
    others = (
        replace(task, val_labels=(task.val_labels + 1) % 3),
        replace(task, val_features=-task.val_features),
        replace(task, val_features=task.val_features[:0], val_labels=task.val_labels[:0]),
    )
    expected = fit_one(HELD_OUT, task)
    for other in others:
        # Each alone, as products of another size round otherwise.
        found = fit_one(HELD_OUT, other)
        assert found.candidates == expected.candidates
        assert found.settings == expected.settings
        np.testing.assert_array_equal(
            found.classifier.logits(pictures), expected.classifier.logits(pictures)
        )


def test_the_left_out_shots_choose(make_task: MakeTask) -> None:
    """Where text is right and the shots' labels are noise CLIP stays; where it is wrong it goes."""
    task = make_task(shots=8)
    trained = replace(HELD_OUT, training=TrainingSettings(epochs=50, learning_rate=1e-2))
    wrong_text = replace(task, prompt_features=task.prompt_features[[1, 2, 0]].copy())
    assert fit_one(trained, wrong_text).settings["residual_ratio"] == 1.0
    # Held-out labels that text alone explains: each image is its class's prototype, turned by
    # noise in a direction that the training images do not share.
    prototypes = task.class_prototypes[task.train_labels]
    noise = np.random.default_rng(1).normal(size=prototypes.shape) / 6
    clear = replace(task, train_features=(prototypes + noise).astype(np.float32))
    candidates = fit_one(trained, clear).candidates
    assert candidates[0].validation_accuracy >= candidates[2].validation_accuracy


def test_the_chosen_ratio_is_trained_again_on_all_shots(
    make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3)
    fitted = fit_one(HELD_OUT, task)
    ratio = float(fitted.settings["residual_ratio"])
    again = fit_one(ClipAdapter(residual_ratios=(ratio,), training=TEN_EPOCHS), task)
    np.testing.assert_allclose(
        fitted.classifier.logits(pictures), again.classifier.logits(pictures), atol=1e-3
    )


def test_the_candidates_are_the_means_over_all_folds(make_task: MakeTask) -> None:
    task = make_task(shots=3)
    on_validation = replace(HELD_OUT, ratio_mode="validation")
    alone = on_validation.fit(folds(task))
    for number, merged in enumerate(fit_one(HELD_OUT, task).candidates):
        results = [fitted.candidates[number] for fitted in alone]
        assert merged.settings == results[0].settings
        accuracy = np.mean([fold.validation_accuracy for fold in results])
        assert merged.validation_accuracy == pytest.approx(accuracy)
        assert merged.validation_nll == pytest.approx(
            np.mean([fold.validation_nll for fold in results])
        )


@pytest.mark.parametrize("branch", ["visual", "text", "both"])
def test_a_single_shot_cannot_be_held_out(make_task: MakeTask, branch: Branch) -> None:
    with pytest.raises(DataError, match=r"single training image.*learn the ratio"):
        fit_one(replace(HELD_OUT, branch=branch), make_task(shots=1))


def test_a_single_ratio_needs_no_shot_held_out(make_task: MakeTask) -> None:
    fitted = fit_one(replace(HELD_OUT, residual_ratios=(0.4,)), make_task(shots=1))
    assert fitted.selected_on == "nothing"
    assert fitted.candidates == ()
