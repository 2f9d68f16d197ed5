"""Settings chosen on validation images, on shots that are left out, or not at all."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from clip_adapter.errors import SettingsError
from clip_adapter.methods import (
    METHODS,
    ClipAdapter,
    FewShotTask,
    Fitted,
    GridMethod,
    Method,
    Selection,
    Trial,
    best_candidate,
    create_method,
    folds,
)
from clip_adapter.methods.clip_adapter import RATIOS, Branch
from clip_adapter.methods.grid_method import FLOATS_IN_MEMORY
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]
TEN_EPOCHS = TrainingSettings(
    recipe="fast", optimizer="adamw", epochs=10, batch_size=4, learning_rate=1e-2
)
QUICK = {
    "clip-adapter": {"epochs": 6, "lengths": [0.5, 1.0], "residual_ratios": [0.2, 0.6]},
    "linear-probe": {"max_iterations": 50, "refinements": 1},
    "tip-adapter": {"alphas": [0.0, 1.0], "betas": [1.0, 5.5]},
    "tip-adapter-f": {"epochs": 4, "lengths": [0.5, 1.0], "alphas": [1.0, 3.0], "betas": [5.5]},
    "task-res": {"epochs": 6, "lengths": [0.5, 1.0], "alphas": [0.1, 1.0]},
    "cross-modal-probe": {"epochs": 6, "lengths": [0.0, 1.0]},
    "lp++": {"iterations": 20},
    "coop": {"epochs": 4, "lengths": [0.5, 1.0], "n_context": 4},
}
HELD_OUT = ClipAdapter(
    selection="held-out-shots", residual_ratios=(0.0, 0.4, 1.0), training=TEN_EPOCHS
)


def without(task: FewShotTask, *, label: int, n_images: int) -> FewShotTask:
    """The task without some images of a class."""
    keep = np.ones(len(task.train_labels), dtype=bool)
    keep[np.flatnonzero(task.train_labels == label)[:n_images]] = False
    return replace(
        task, train_features=task.train_features[keep], train_labels=task.train_labels[keep]
    )


def fit_one(method: Method, task: FewShotTask) -> Fitted:
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


def test_a_class_of_one_image_stays_in_training_in_every_fold(make_task: MakeTask) -> None:
    few = without(make_task(shots=5), label=1, n_images=4)
    found = folds(few)
    assert [sorted(fold.val_labels) for fold in found] == [[0, 2]] * 4
    assert all((fold.train_labels == 1).sum() == 1 for fold in found)


def test_a_class_is_left_out_as_often_as_it_has_images(make_task: MakeTask) -> None:
    found = folds(without(make_task(shots=5), label=1, n_images=3))
    assert [sorted(fold.val_labels) for fold in found] == [[0, 1, 2], [0, 1, 2], [0, 2], [0, 2]]


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
    on_validation = replace(HELD_OUT, selection="validation")
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
def test_of_a_single_shot_nothing_is_held_out(make_task: MakeTask, branch: Branch) -> None:
    method = replace(HELD_OUT, branch=branch, residual_ratios=RATIOS)
    fitted = fit_one(method, make_task(shots=1))
    assert (fitted.selected_on, fitted.candidates, fitted.held_out) == ("nothing", (), None)
    for name in method.ratio_names:
        assert fitted.settings[name] == method.defaults(make_task(shots=1))[name]


def test_a_single_ratio_needs_no_shot_held_out(make_task: MakeTask) -> None:
    fitted = fit_one(replace(HELD_OUT, residual_ratios=(0.4,)), make_task(shots=1))
    assert fitted.selected_on == "nothing"
    assert fitted.candidates == ()


WITHOUT_CHOICE = {"zero-shot", "ss-text", "ss-text+", "clap"}
"""Methods that choose nothing by construction."""


@pytest.fixture(name="method", params=[name for name in METHODS if name not in WITHOUT_CHOICE])
def _method(request: pytest.FixtureRequest) -> Method:
    """Every method that chooses something."""
    name: str = request.param
    return create_method(name, QUICK.get(name))


def selecting(method: Method, selection: Selection) -> Method:
    changed: Method = replace(method, selection=selection)  # type: ignore[call-arg]  # all have it
    return changed


def test_without_validation_images_held_out_shots_choose(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3, n_val=0)
    found, asked = fit_one(method, task), fit_one(selecting(method, "held-out-shots"), task)
    assert found.selected_on == asked.selected_on == "held-out shots"
    assert found.candidates == asked.candidates
    assert found.held_out is not None
    assert sorted(found.held_out.labels) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), asked.classifier.logits(pictures)
    )


def test_what_is_held_out_is_classified_by_what_did_not_learn_from_it(
    method: Method, make_task: MakeTask
) -> None:
    task = make_task(shots=3, n_val=0)
    found = fit_one(selecting(method, "held-out-shots"), task)
    assert found.held_out is not None
    if isinstance(method, GridMethod):
        (first, *_) = folds(task)
        point = found.candidates[best_candidate(found.candidates)].settings
        trial = Trial(task=first, points=[point])
        ((alone,),) = method.fit_together([trial], device="cpu", report=lambda _: None)
        np.testing.assert_allclose(
            found.held_out.logits[:3], alone.classifier.logits(first.val_features), atol=1e-3
        )
    right = found.held_out.logits.argmax(axis=1) == found.held_out.labels
    chosen = found.candidates[best_candidate(found.candidates)]
    assert right.mean() == pytest.approx(chosen.validation_accuracy)


def test_without_selection_the_defaults_are_taken(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3)
    found = fit_one(selecting(method, "none"), task)
    assert found.selected_on in {"nothing", "training"}
    assert (found.candidates, found.held_out) == ((), None)
    other = replace(task, val_features=-task.val_features, val_labels=(task.val_labels + 1) % 3)
    np.testing.assert_array_equal(
        found.classifier.logits(pictures),
        fit_one(selecting(method, "none"), other).classifier.logits(pictures),
    )


def test_classes_of_one_image_choose_nothing_where_they_are_the_most(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=3, n_val=0)
    mostly = without(without(task, label=0, n_images=2), label=1, n_images=2)
    found = fit_one(method, mostly)
    assert found.selected_on in {"nothing", "training"}
    assert np.isfinite(found.classifier.logits(pictures)).all()
    one = without(task, label=0, n_images=2)
    held_out = fit_one(method, one).held_out
    assert held_out is not None
    assert set(held_out.labels.tolist()) == {1, 2}


@pytest.mark.parametrize("selection", ["validation", "held-out-shots", "none"])
@pytest.mark.parametrize("name", ["tip-adapter", "tip-adapter-f"])
def test_a_cache_without_weight_has_one_point_whatever_the_betas(
    make_task: MakeTask, name: str, selection: Selection
) -> None:
    settings = {**QUICK[name], "alphas": [0.0], "betas": [1.0, 18.0], "selection": selection}
    fitted = fit_one(create_method(name, settings), make_task(shots=3))
    assert (fitted.settings["alpha"], fitted.settings["beta"]) == (0.0, 1.0)


@pytest.mark.parametrize("method", ["clip-adapter", "task-res", "tip-adapter-f", "coop"])
def test_a_training_may_stop_at_its_start(make_task: MakeTask, method: str) -> None:
    settings = {**QUICK[method], "lengths": [0.0], "selection": "none"}
    fitted = fit_one(create_method(method, settings), make_task(shots=3))
    assert (fitted.settings["stopped_epoch"], fitted.loss_curve) == (0, ())


@pytest.mark.parametrize("former", ["validation", "held-out-shots"])
def test_the_former_ratio_modes_are_selections(
    former: Literal["validation", "held-out-shots"],
) -> None:
    with pytest.warns(DeprecationWarning, match=f"now selection={former}"):
        method = ClipAdapter(ratio_mode=former)
    assert method == ClipAdapter(selection=former)


def test_a_former_ratio_mode_does_not_override_another_selection() -> None:
    with (
        pytest.warns(DeprecationWarning, match="is now selection"),
        pytest.raises(SettingsError, match="but selection is none: leave ratio_mode out"),
    ):
        ClipAdapter(ratio_mode="held-out-shots", selection="none")


@pytest.mark.parametrize(
    "method", ["clip-adapter", "task-res", "tip-adapter-f", "cross-modal-probe", "lp++", "coop"]
)
def test_every_length_is_another_number_of_epochs(make_task: MakeTask, method: str) -> None:
    count = "iterations" if method == "lp++" else "epochs"
    made = create_method(method, {count: 3, "lengths": [0.0, 0.1, 0.25, 0.5, 1.0]})
    assert isinstance(made, GridMethod)
    assert made.axes(make_task(shots=2))["length"] == (0.0, 0.25, 0.5, 1.0)


def test_without_anything_to_choose_held_out_shots_are_not_said_to_choose(
    make_task: MakeTask,
) -> None:
    settings = {**QUICK["tip-adapter-f"], "lengths": [1.0], "selection": "held-out-shots"}
    fitted = fit_one(create_method("tip-adapter-f", settings), make_task(shots=3))
    assert (fitted.selected_on, fitted.candidates) == ("nothing", ())


@pytest.mark.parametrize(
    "method", ["clip-adapter", "cross-modal-probe", "lp++", "task-res", "tip-adapter-f"]
)
def test_tasks_that_are_stacked_fit_into_memory(method: str) -> None:
    n_classes, shots, n_prompts, width = 1000, 16, 7, 64
    rows = np.ones((n_classes * shots, width), dtype=np.float32)
    task = FewShotTask(
        train_features=rows,
        train_labels=np.repeat(np.arange(n_classes), shots),
        val_features=rows[:1],
        val_labels=np.zeros(1, dtype=np.int64),
        prompt_features=np.ones((n_classes, n_prompts, width), dtype=np.float32),
        logit_scale=100.0,
        class_names=tuple(map(str, range(n_classes))),
        shots=shots,
        seed=1,
    )
    made = create_method(method)
    assert isinstance(made, GridMethod)
    together = made.most_together(Trial(task=task, points=made.grid(task)))
    of_a_task = {
        "cross-modal-probe": task.prompt_features.size,
        "lp++": 4 * n_classes * len(rows),  # the logits and what is as large as they
        "clip-adapter": 1,
        "task-res": rows.size,
        "tip-adapter-f": 2 * rows.size,
    }[method]
    assert together * of_a_task <= FLOATS_IN_MEMORY
