"""Ratios that are learned with the weights go where the data send them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clip_adapter.methods import AdapterClassifier, ClipAdapter, FewShotTask, Fitted
from clip_adapter.methods.clip_adapter import Branch, RatioMode
from clip_adapter.training import TrainingSettings

MakeTask = Callable[..., FewShotTask]
LONG = TrainingSettings(recipe="fast", epochs=200, learning_rate=1e-2)
SHORT = TrainingSettings(recipe="fast", epochs=5, learning_rate=1e-2)
LEARNED: list[RatioMode] = ["learned", "hypernetwork"]


def fit_one(method: ClipAdapter, task: FewShotTask) -> Fitted:
    (fitted,) = method.fit([task])
    return fitted


def contradicted(task: FewShotTask) -> FewShotTask:
    """Training labels that say the opposite of the prototypes: only an adapter can follow them."""
    return replace(task, prompt_features=task.prompt_features[[1, 2, 0]].copy())


@pytest.mark.parametrize("mode", LEARNED)
@pytest.mark.parametrize(
    ("branch", "name"), [("visual", "residual_ratio"), ("text", "text_residual_ratio")]
)
def test_a_ratio_rises_where_clip_is_wrong(
    make_task: MakeTask, mode: RatioMode, branch: Branch, name: str
) -> None:
    method = ClipAdapter(branch=branch, ratio_mode=mode, training=LONG)
    fitted = fit_one(method, contradicted(make_task(shots=8)))
    assert float(fitted.settings[name]) > 0.3
    assert fitted.loss_curve[-1] < fitted.loss_curve[0]


@pytest.mark.parametrize("mode", LEARNED)
@pytest.mark.parametrize("branch", ["visual", "text", "both"])
def test_no_validation_image_is_needed_or_read(
    make_task: MakeTask, pictures: np.ndarray, mode: RatioMode, branch: Branch
) -> None:
    method = ClipAdapter(branch=branch, ratio_mode=mode, training=SHORT)
    task = make_task(shots=2)
    none = replace(task, val_features=task.val_features[:0], val_labels=task.val_labels[:0])
    np.testing.assert_array_equal(
        fit_one(method, none).classifier.logits(pictures),
        fit_one(method, task).classifier.logits(pictures),
    )


def test_a_hypernetwork_gives_each_image_a_ratio_and_records_the_mean(
    make_task: MakeTask,
) -> None:
    task = contradicted(make_task(shots=8))
    fitted = fit_one(ClipAdapter(ratio_mode="hypernetwork", training=LONG), task)
    classifier = fitted.classifier
    assert isinstance(classifier, AdapterClassifier)
    assert classifier.ratio_query is not None
    directions = task.train_features / np.linalg.norm(task.train_features, axis=1, keepdims=True)
    logit = directions @ classifier.ratio_query + classifier.ratio_offset
    ratios = 1 / (1 + np.exp(-logit))
    assert np.ptp(ratios) > 0.01
    assert fitted.settings["residual_ratio"] == pytest.approx(ratios.mean(), abs=1e-5)


def test_a_learned_ratio_is_the_one_the_classifier_blends_by(make_task: MakeTask) -> None:
    fitted = fit_one(ClipAdapter(ratio_mode="learned", training=LONG), make_task())
    assert isinstance(fitted.classifier, AdapterClassifier)
    assert fitted.classifier.ratio_query is None
    assert fitted.classifier.residual_ratio == fitted.settings["residual_ratio"]
