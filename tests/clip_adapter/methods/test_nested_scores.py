"""The score of choosing settings: no image chooses the settings that it is scored by."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clip_adapter.methods import (
    METHODS,
    Candidate,
    ClipAdapterGda,
    FewShotTask,
    Fitted,
    GridMethod,
    Method,
    TipAdapter,
    Trial,
    ZeroShot,
    best_candidate,
    create_method,
    folds,
    setting_names,
)
from clip_adapter.methods.classifiers import blend
from clip_adapter.methods.fitting.blend import fit_blend
from clip_adapter.methods.grid_method import Point
from clip_adapter.methods.selection import (
    evaluate_candidate,
    merge_folds,
    nested_score,
    validation_parts,
)

MakeTask = Callable[..., FewShotTask]
GRID = {"alphas": (0.0, 1.0, 5.0), "betas": (1.0, 5.5)}
QUICK = {"clip-adapter": {"epochs": 2}, "task-res": {"epochs": 2}, "tip-adapter-f": {"epochs": 2}}
QUICK |= {"cross-modal-probe": {"epochs": 2}, "lp++": {"iterations": 10}}
QUICK |= {"linear-probe": {"refinements": 1}, "coop": {"epochs": 2, "n_context": 2}}


def fit_one(method: Method, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def candidates(*accuracies: float) -> list[Candidate]:
    return [
        Candidate(
            settings={"number": float(n)},
            validation_accuracy=accuracy,
            validation_nll=1.0 - accuracy,
        )
        for n, accuracy in enumerate(accuracies)
    ]


def test_each_fold_is_scored_by_the_point_that_the_others_choose() -> None:
    results = [candidates(0.9, 0.1), candidates(0.2, 0.8), candidates(0.5, 0.7)]
    found = nested_score(results, [10, 10, 20])
    assert found is not None
    # The others choose the second point for the first fold, and the first point for the other two.
    assert found.validation_accuracy == pytest.approx((10 * 0.1 + 10 * 0.2 + 20 * 0.5) / 40)
    assert found.settings == {}
    assert nested_score(results[:1], [10]) is None


def test_choosing_among_settings_that_mean_nothing_gains_nothing() -> None:
    """Seventy guesses of a coin: the best looks good on the images that chose it, the choice does not."""
    random = np.random.default_rng(0)
    naive, nested = [], []
    for _ in range(200):
        labels = random.integers(2, size=80)
        scores = random.normal(size=(70, 80, 2))
        parts = np.split(np.arange(80), 4)
        results = [
            [evaluate_candidate(each[rows], labels[rows]) for each in scores] for rows in parts
        ]
        merged = merge_folds(results, [20] * 4)
        naive.append(merged[best_candidate(merged)].validation_accuracy)
        found = nested_score(results, [20] * 4)
        assert found is not None
        nested.append(found.validation_accuracy)
    assert np.mean(naive) > 0.6
    assert np.mean(nested) == pytest.approx(0.5, abs=0.015)  # four standard errors


def test_parts_of_validation_images_have_all_images_once_and_every_class_alike() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 4))
    parts = validation_parts(labels)
    assert sorted(np.concatenate(parts)) == list(range(20))
    assert [sorted(labels[rows]) for rows in parts] == [list(range(5))] * 4
    assert list(map(len, validation_parts(labels[:3]))) == [1, 1, 1]


@pytest.mark.parametrize("selection", ["validation", "held-out-shots"])
def test_the_score_is_that_of_fitting_every_point_alone(
    selection: str, make_task: MakeTask
) -> None:
    task = make_task(shots=4, n_val=13)
    if selection == "validation":
        tasks = [
            replace(task, val_features=task.val_features[rows], val_labels=task.val_labels[rows])
            for rows in validation_parts(task.val_labels)
        ]
    else:
        tasks = folds(task)
    points = TipAdapter(**GRID).grid(task)
    right = np.array(  # by part and point
        [
            [
                (
                    fit_one(point_alone(point), part).classifier.logits(part.val_features).argmax(1)
                    == part.val_labels
                ).sum()
                for point in points
            ]
            for part in tasks
        ]
    )
    nlls = np.array(
        [
            [fit_one(point_alone(point), part).candidates[0].validation_nll for point in points]
            for part in tasks
        ]
    )
    sizes = np.array([len(part.val_labels) for part in tasks])
    n_right = 0
    for number in range(len(tasks)):
        others = np.arange(len(tasks)) != number
        ranks = [
            (-right[others, point].sum(), sizes[others] @ nlls[others, point], point)
            for point in range(len(points))
        ]
        n_right += right[number, min(ranks)[2]]
    found = fit_one(TipAdapter(selection=selection, **GRID), task).nested  # type: ignore[arg-type]
    assert found is not None
    assert found.validation_accuracy == pytest.approx(n_right / sizes.sum())


def point_alone(point: dict[str, float]) -> TipAdapter:
    """A method whose grid is two copies of one point, so that validation images evaluate it."""
    return TipAdapter(alphas=(point["alpha"],) * 2, betas=(point["beta"],))


@pytest.mark.parametrize("selection", ["validation", "held-out-shots"])
@pytest.mark.parametrize(
    "name",
    [name for name, kind in METHODS.items() if "selection" in setting_names(kind)],
)
def test_every_method_that_chooses_has_the_score_of_its_choice(
    name: str, selection: str, make_task: MakeTask
) -> None:
    method = create_method(name, {**QUICK.get(name, {}), "selection": selection})
    found = fit_one(method, make_task(shots=4, n_val=12))
    has_chosen = found.selected_on in ("validation", "held-out shots")
    assert (found.nested is not None) == (has_chosen and name != "auto")
    if found.nested is not None:
        assert 0 <= found.nested.validation_accuracy <= 1
        assert found.nested.validation_nll >= 0


@pytest.mark.parametrize(
    ("selection", "shots"), [("validation", 1), ("validation", 2), ("held-out-shots", 3)]
)
def test_no_image_chooses_the_settings_or_the_weights_of_the_blend_that_it_scores(
    selection: str, shots: int, make_task: MakeTask
) -> None:
    """Each part of the images is taken away from all that chooses, and scored."""
    task = make_task(shots=shots, n_val=13)
    method = ClipAdapterGda(selection=selection)  # type: ignore[arg-type]  # one of the words
    parts = folds(task) if shots > 1 else []
    first_scored = 0
    if selection == "validation":
        first_scored = len(parts)
        parts += [
            replace(task, val_features=task.val_features[rows], val_labels=task.val_labels[rows])
            for rows in validation_parts(task.val_labels)
        ]
    towards = [0.0, 0.5, 0.5] if shots == 1 else [1 / 3] * 3
    n_right, n_images, loss = 0, 0, 0.0
    for number in range(first_scored, len(parts)):
        others = [part for place, part in enumerate(parts) if place != number]
        points = {}
        for each in method.parts(task):
            ((fitted, _),) = each.fit_on_folds([task], [others])
            points[each] = each.held_out_grid(task)[best_candidate(fitted.candidates)]

        def scores(part: FewShotTask, points: dict[GridMethod, Point] = points) -> list[np.ndarray]:
            trained = [
                next(
                    each.fit_together([Trial(task=part, points=[point])], device="cpu", report=skip)
                )
                for each, point in points.items()
            ]
            classifiers = [fit_one(ZeroShot(), part), *(one for (one,) in trained)]
            return [one.classifier.logits(part.val_features) for one in classifiers]

        weights = fit_blend(
            [np.concatenate(each) for each in zip(*map(scores, others), strict=True)],
            np.concatenate([part.val_labels for part in others]),
            towards=towards,
            shrinkage=method.shrinkage,
        ).weights
        labels = parts[number].val_labels
        expected = evaluate_candidate(blend(scores(parts[number]), weights), labels)
        n_images += len(labels)
        n_right += round(expected.validation_accuracy * len(labels))
        loss += expected.validation_nll * len(labels)
    found = fit_one(method, task).nested
    assert found is not None
    assert found.validation_accuracy == pytest.approx(n_right / n_images)
    assert found.validation_nll == pytest.approx(loss / n_images, rel=1e-3)  # of float32


def skip(_: int) -> None:
    """Report no progress."""


def test_a_single_image_scores_no_choice_of_a_blend(make_task: MakeTask) -> None:
    found = fit_one(ClipAdapterGda(), make_task(shots=1, n_val=1))
    assert found.selected_on == "validation"
    assert found.nested is None
