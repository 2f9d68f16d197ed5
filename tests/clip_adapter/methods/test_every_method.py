"""What holds for every few-shot method, the ones still to come included."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from clip_adapter.methods import METHODS, FewShotTask, Fitted, Method, create_method

MakeTask = Callable[..., FewShotTask]
PermuteClasses = Callable[[FewShotTask, Sequence[int]], FewShotTask]
QUICK = {
    "clip-adapter": {"epochs": 10},
    "linear-probe": {"max_iterations": 100, "refinements": 1},
    "task-res": {"epochs": 30, "learning_rate": 0.01, "alphas": [0.5, 1.0]},
    "cross-modal-probe": {"epochs": 30},
    "lp++": {"iterations": 40},
    # So few steps need a context for each class.
    "coop": {
        "optimizer": "adamw",
        "epochs": 30,
        "learning_rate": 0.05,
        "weight_decay": 5e-4,
        "class_specific": True,
    }
    | {"n_context": 4},
}


@pytest.fixture(name="method", params=METHODS)
def _method(request: pytest.FixtureRequest) -> Method:
    name: str = request.param
    return create_method(name, QUICK.get(name))


def drawn_from_global_generators() -> tuple[float, float]:
    """What torch and numpy would draw next; drawing it is undone.

    Python's own generator is left out: the checker of shapes draws from it.
    """
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()  # noqa: NPY002  # the global one is meant
    drawn = torch.rand(()).item(), float(np.random.rand())  # noqa: NPY002  # the same
    torch.random.set_rng_state(torch_state)
    np.random.set_state(numpy_state)  # noqa: NPY002  # the same
    return drawn


def fit_one(method: Method, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def test_every_task_gets_its_own_classifier_in_order(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    tasks = [make_task(seed=seed, shots=shots) for shots, seed in ((4, 2), (1, 1), (4, 1), (2, 2))]
    fitted = method.fit(tasks)
    assert len(fitted) == len(tasks)
    for task, found in zip(tasks, fitted, strict=True):
        expected = fit_one(method, task)
        assert found.settings == expected.settings
        # Ten epochs of float32 training in products of another size, at a logit scale of 20.
        np.testing.assert_allclose(
            found.classifier.logits(pictures), expected.classifier.logits(pictures), atol=1e-3
        )


def test_no_tasks_give_no_classifiers(method: Method) -> None:
    assert method.fit([]) == []


def test_the_same_seed_gives_the_same_bits(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task()
    first, second = fit_one(method, task), fit_one(method, task)
    assert first.candidates == second.candidates
    assert first.loss_curve == second.loss_curve
    np.testing.assert_array_equal(
        first.classifier.logits(pictures), second.classifier.logits(pictures)
    )


def test_logits_are_single_precision_and_one_a_picture_and_class(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    found = fit_one(method, make_task(n_classes=5)).classifier.logits(pictures)
    assert found.shape == (len(pictures), 5)
    assert found.dtype == np.float32


def test_a_class_may_have_fewer_images_than_the_others(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task = make_task(shots=4)
    of_first = np.flatnonzero(task.train_labels == 0)
    kept = np.setdiff1d(np.arange(len(task.train_labels)), of_first[1:])
    short = replace(
        task, train_features=task.train_features[kept], train_labels=task.train_labels[kept]
    )
    found, with_all = method.fit([short, task])
    logits = found.classifier.logits(pictures)
    assert np.isfinite(logits).all()
    # A task beside it of another size, where sums of float32 are added up in another order.
    np.testing.assert_allclose(
        logits, fit_one(method, short).classifier.logits(pictures), atol=1e-3
    )
    learned = not np.array_equal(logits, with_all.classifier.logits(pictures))
    assert learned == method.learns


def test_permuting_the_classes_permutes_the_logits(
    method: Method,
    make_task: MakeTask,
    permute_classes: PermuteClasses,
    pictures: np.ndarray,
) -> None:
    task, order = make_task(n_classes=4), [2, 0, 3, 1]
    found = fit_one(method, permute_classes(task, order))
    expected = fit_one(method, task)
    assert found.settings == expected.settings
    # Sums over classes are added up in another order, in float32, at each step of a training;
    # logistic regression stops where its gradient is below 1e-4, not at one point.
    np.testing.assert_allclose(
        found.classifier.logits(pictures), expected.classifier.logits(pictures)[:, order], atol=1e-2
    )


# Beyond, the square of a norm leaves float32, where no CLIP's features are.
@pytest.mark.parametrize("factor", [1e-6, 0.3, 7.0, 1e6])
def test_the_norm_of_raw_features_does_not_matter(
    method: Method, make_task: MakeTask, pictures: np.ndarray, factor: float
) -> None:
    task = make_task()
    single = np.float32(factor)
    scaled = replace(
        task,
        train_features=task.train_features * single,
        val_features=task.val_features * single,
    )
    found, expected = fit_one(method, scaled), fit_one(method, task)
    assert found.settings == expected.settings
    # As above: float32 rounding, carried through a training.
    np.testing.assert_allclose(
        found.classifier.logits(pictures * single),
        expected.classifier.logits(pictures),
        atol=1e-2,
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_features_of_another_precision_are_taken(
    method: Method, make_task: MakeTask, pictures: np.ndarray, dtype: type[np.floating]
) -> None:
    task = make_task()
    rounded = {
        name: getattr(task, name).astype(dtype)
        for name in ("train_features", "val_features", "prompt_features")
    }
    single = {name: values.astype(np.float32) for name, values in rounded.items()}
    found = fit_one(method, replace(task, **rounded)).classifier.logits(pictures.astype(dtype))
    same = pictures.astype(dtype).astype(np.float32)
    expected = fit_one(method, replace(task, **single)).classifier.logits(same)
    np.testing.assert_array_equal(found, expected)


def test_read_only_views_and_short_integers_are_taken(method: Method, make_task: MakeTask) -> None:
    task = make_task()
    backwards = {
        name: getattr(task, name)[::-1]
        for name in ("train_features", "train_labels", "val_features", "val_labels")
    }
    backwards["train_labels"] = backwards["train_labels"].astype(np.int16)[::1]
    for values in backwards.values():
        values.flags.writeable = False
    fitted = fit_one(method, replace(task, **backwards))
    assert np.isfinite(fitted.classifier.logits(backwards["val_features"])).all()


def test_nothing_given_to_a_method_is_changed(
    method: Method, make_task: MakeTask, pictures: np.ndarray
) -> None:
    task, before, images = make_task(), make_task(), pictures.copy()
    fit_one(method, task).classifier.logits(pictures)[:] = 0.0
    np.testing.assert_array_equal(pictures, images)
    for name, values in vars(before).items():
        np.testing.assert_array_equal(getattr(task, name), values)


def test_the_global_generators_are_left_alone(method: Method, make_task: MakeTask) -> None:
    before = drawn_from_global_generators()
    fit_one(method, make_task())
    assert drawn_from_global_generators() == before


def test_progress_adds_up_to_one(method: Method, make_task: MakeTask) -> None:
    reported: list[float] = []
    tasks = [make_task(seed=seed, shots=shots) for shots in (1, 2, 4) for seed in (1, 2)]
    method.fit(tasks, progress=reported.append)
    assert all(fraction > 0 for fraction in reported)
    assert sum(reported) == pytest.approx(1.0)


def test_the_candidates_tell_what_was_tried_and_why_one_was_chosen(
    method: Method, make_task: MakeTask
) -> None:
    fitted = fit_one(method, make_task())
    chosen = fitted.selected_on in {"validation", "held-out shots"}
    assert chosen == bool(fitted.candidates)
    if fitted.candidates:
        best = max(candidate.validation_accuracy for candidate in fitted.candidates)
        used = fitted.settings.items()
        chosen = [one for one in fitted.candidates if one.settings.items() <= used]
        assert best in {candidate.validation_accuracy for candidate in chosen}


def test_a_method_that_learns_learns_something(method: Method, make_task: MakeTask) -> None:
    task = make_task(shots=16)
    found = fit_one(method, task).classifier.logits(task.train_features)
    accuracy = (found.argmax(axis=1) == task.train_labels).mean()
    assert accuracy > (0.8 if method.learns else 1 / 3)
