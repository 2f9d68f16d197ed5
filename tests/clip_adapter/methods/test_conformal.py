"""Prediction sets cover as often as asked for, and say what they lack otherwise."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from safetensors.numpy import load, save

from clip_adapter.errors import DataError, ParameterError
from clip_adapter.methods import (
    Auto,
    FewShotTask,
    Fitted,
    Gda,
    SavedClassifier,
    decode_classifier,
    encode_classifier,
    folds,
)
from clip_adapter.methods.conformal import Calibration, calibration_of
from clip_adapter.methods.saved_classifier import CALIBRATION

MakeTask = Callable[..., FewShotTask]
PROTOTYPES = np.eye(3, 16, dtype=np.float32)


def calibrated(probabilities: np.ndarray, similarities: np.ndarray) -> Calibration:
    order = np.argsort(probabilities)
    return Calibration(
        label_probabilities=probabilities[order].astype(np.float32),
        similarities=similarities[order].astype(np.float32),
        class_prototypes=PROTOTYPES,
        images="validation",
    )


@pytest.fixture(name="saved", params=[4, 0])
def _saved(request: pytest.FixtureRequest, make_task: MakeTask) -> SavedClassifier:
    """A blend that is calibrated on validation images, or on held-out shots."""
    task = make_task(shots=4, n_val=request.param)
    (fitted,) = Auto().fit([task])
    return with_calibration(fitted, task)


def with_calibration(fitted: Fitted, task: FewShotTask) -> SavedClassifier:
    return SavedClassifier(
        classifier=fitted.classifier,
        method="auto",
        settings=fitted.settings,
        encoder="an encoder",
        calibration=calibration_of(fitted, task, temperature=None),
    )


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n_images", [20, 39, 250])
def test_each_image_of_a_set_in_turn_is_covered_exactly_as_often_as_asked_for(
    coverage: float, n_images: int
) -> None:
    """The guarantee for exchangeable images, without chance: every image is left out once."""
    random = np.random.default_rng(n_images)
    probabilities = random.permutation(n_images + 1) / (n_images + 1)  # no two are equal
    similarities = random.permutation(n_images + 1) / (n_images + 1)
    covered = 0
    for number in range(n_images + 1):
        others = np.arange(n_images + 1) != number
        found = calibrated(probabilities[others], similarities[others]).thresholds(coverage)
        least_probability, least_similarity = found
        covered += (
            np.float32(probabilities[number]) >= least_probability
            and np.float32(similarities[number]) >= least_similarity
        )
    assert covered == ceil((n_images + 1) * coverage - 1e-9)


def test_a_set_has_the_probable_classes_of_an_image_like_the_others() -> None:
    known = calibrated(np.linspace(0.05, 0.95, 199), np.linspace(0.2, 0.4, 199))
    least_probability, least_similarity = known.thresholds(0.9)
    assert least_similarity == pytest.approx(0.2 + 0.2 / 198)  # the second lowest of 199
    features = np.zeros((4, 16), dtype=np.float32)
    features[:, 0], features[:, 8] = [1, 1, 1, 0.01], 1.0
    rows = [[0.5, 0.4, 0.1], [1.0, 0.0, 0.0], [0.1, 0.1, 0.1], [1.0, 0.0, 0.0]]
    found = known.sets(np.array(rows, dtype=np.float32), features, coverage=0.9)
    assert 0.1 < least_probability < 0.4
    assert found.tolist() == [
        [True, True, False],
        [True, False, False],
        [False, False, False],
        [False, False, False],  # it is unlike every class, however probable the first is
    ]


def test_a_coverage_of_almost_nothing_is_no_mistake() -> None:
    known = calibrated(np.linspace(0.1, 0.9, 40), np.linspace(0.1, 0.9, 40))
    threshold, _ = known.thresholds(1e-12)
    assert threshold == pytest.approx(0.9)


@pytest.mark.parametrize(("coverage", "needed"), [(0.9, 9), (0.95, 19), (0.99, 99), (0.5, 1)])
def test_too_few_images_are_refused_with_the_number_that_is_needed(
    coverage: float, needed: int
) -> None:
    def known(n: int) -> Calibration:
        return calibrated(np.linspace(0.1, 0.9, n), np.linspace(0.1, 0.9, n))

    known(needed).thresholds(coverage)
    if needed > 1:
        with pytest.raises(
            DataError, match=f"takes {needed} validation images or more, .* has {needed - 1}:"
        ):
            known(needed - 1).thresholds(coverage)


@pytest.mark.parametrize("n_images", [3, 12, 40, 400])
def test_the_coverage_that_a_refusal_names_is_one_that_works(n_images: int) -> None:
    known = calibrated(np.linspace(0.1, 0.9, n_images), np.linspace(0.1, 0.9, n_images))
    with pytest.raises(DataError) as refused:
        known.thresholds(0.9999)
    (named,) = re.findall(r"ask for (\S+) or less", str(refused.value))
    known.thresholds(float(named))


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1.0, float("nan")])
def test_a_coverage_out_of_range_is_refused(coverage: float) -> None:
    with pytest.raises(ParameterError, match="above 0 and below 1"):
        calibrated(np.ones(50), np.ones(50)).thresholds(coverage)


def test_a_classifier_from_its_file_gives_the_sets_that_it_gave(
    saved: SavedClassifier, pictures: np.ndarray
) -> None:
    content = encode_classifier(saved)
    found = decode_classifier(content, source="the file")
    np.testing.assert_array_equal(
        found.classifier.logits(pictures), saved.classifier.logits(pictures)
    )
    for coverage in (0.5, 0.8):
        np.testing.assert_array_equal(
            found.prediction_sets(pictures, coverage=coverage),
            saved.prediction_sets(pictures, coverage=coverage),
        )
    assert encode_classifier(found) == content


def test_held_out_shots_calibrate_where_there_is_no_validation_image(make_task: MakeTask) -> None:
    task = make_task(shots=4, n_val=0)
    (fitted,) = Gda().fit([task])
    found = calibration_of(fitted, task, temperature=2.0)
    assert found is not None
    assert found.images == "held-out shots"
    left_out = np.concatenate([fold.val_labels for fold in folds(task)])
    assert fitted.held_out is not None
    logits = fitted.held_out.logits.astype(np.float64) / 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(
        found.label_probabilities,
        np.sort(probabilities[np.arange(len(left_out)), left_out]),
        rtol=1e-5,  # of float32
    )
    (alone,) = Gda().fit([make_task(shots=1, n_val=0)])
    assert calibration_of(alone, make_task(shots=1, n_val=0), temperature=None) is None


def test_the_order_of_the_images_changes_no_calibration(make_task: MakeTask) -> None:
    task = make_task(shots=2, n_val=9)
    (fitted,) = Gda().fit([task])
    expected = calibration_of(fitted, task, temperature=50.0)  # so that no two are equal
    assert expected is not None
    rows = np.random.default_rng(0).permutation(9)
    logits = fitted.classifier.logits(task.val_features[rows]).astype(np.float64) / 50
    found = Calibration.of(
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        task.val_labels[rows],
        features=task.val_features[rows],
        class_prototypes=task.class_prototypes,
        images="validation",
    )
    for name in ("label_probabilities", "similarities", "class_prototypes"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-5)


def test_without_calibration_it_is_said_what_to_do(
    saved: SavedClassifier, pictures: np.ndarray
) -> None:
    old = decode_classifier(encode_classifier(replace(saved, calibration=None)), source="the file")
    with pytest.raises(DataError, match=r"no calibration .* Train with two shots .* \(run:ID\)"):
        old.prediction_sets(pictures, coverage=0.5)


def test_a_file_without_calibration_is_as_earlier_versions_wrote_it(saved: SavedClassifier) -> None:
    content = encode_classifier(replace(saved, calibration=None))
    assert b"calibration" not in content
    assert rb"\"format\": 1" in content
    assert rb"\"format\": 2" in encode_classifier(saved)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("label_probabilities", lambda values: values + 1),
        ("label_probabilities", lambda values: values[:-1]),
        ("label_probabilities", lambda values: values.astype(np.float64)),
        ("label_probabilities", lambda values: values * np.nan),
        ("similarities", lambda values: values + 2),
        ("similarities", lambda values: values[:0]),
        ("class_prototypes", lambda values: values[:-1]),
        ("class_prototypes", lambda values: values[:, :-1]),
        ("class_prototypes", lambda _: None),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(
    saved: SavedClassifier, name: str, change: Callable[[np.ndarray], np.ndarray | None]
) -> None:
    content = encode_classifier(saved)
    arrays = load(content)
    changed = change(arrays.pop(f"{CALIBRATION}{name}"))
    if changed is not None:
        arrays[f"{CALIBRATION}{name}"] = changed
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    with pytest.raises(DataError, match="holds no classifier that can be read"):
        decode_classifier(save(arrays, metadata=header["__metadata__"]), source="the file")
