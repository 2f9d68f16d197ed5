"""The numbers of a run, from logits that are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from steps import plan
from synthetic_datasets import CLASSES, SyntheticDatasets

from clip_adapter.methods import Fitted, create_method
from clip_adapter.methods.classifiers import LinearClassifier
from clip_adapter.methods.method import HeldOut
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.plan import SplitSpec, SweepError, plan_runs
from clip_adapter.pipeline.run_records import CALIBRATION_BINS, Sweep, completed_run
from clip_adapter.training import evaluate, fit_temperature

Metrics = dict[tuple[str, str], float]


def first_numbers(scale: float) -> LinearClassifier:
    """A classifier whose logits are the first numbers of the normalised feature, times `scale`."""
    n_classes = len(CLASSES)
    weight = scale * np.eye(n_classes, 8, dtype=np.float32)
    return LinearClassifier(
        weight=weight, bias=np.zeros(n_classes, dtype=np.float32), class_names=CLASSES
    )


@pytest.fixture(name="encoded")
def _encoded(datasets: SyntheticDatasets) -> EncodedDataset:
    return datasets.make_dataset()


def metrics_of(encoded: EncodedDataset, *, scale: float) -> Metrics:
    (spec,) = plan(encoded, methods=["linear-probe"], shots=[4], seeds=[1])
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    fitted = Fitted(classifier=first_numbers(scale), settings={})
    return completed_run(sweep, spec, fitted).metrics


def scores_of(encoded: EncodedDataset, rows: Any, *, scale: float) -> tuple[Any, Any]:
    features = DatasetFeatures(encoded).image_features(rows)
    return first_numbers(scale).logits(features), encoded.dataset.index.labels[rows]


def nll(scores: np.ndarray, labels: np.ndarray) -> float:
    wide = scores.astype(np.float64)
    return float(-log_softmax(wide, axis=1)[np.arange(len(labels)), labels].mean())


@pytest.mark.parametrize("scale", [0.5, 50.0])
def test_test_logits_are_calibrated_by_the_temperature_of_the_validation_images(
    encoded: EncodedDataset, scale: float
) -> None:
    (spec,) = plan(encoded, methods=["linear-probe"], shots=[4], seeds=[1])
    val_scores, val_labels = scores_of(encoded, spec.split.val_rows, scale=scale)
    scores, labels = scores_of(encoded, encoded.dataset.index.rows("test"), scale=scale)
    fitted = minimize_scalar(
        lambda log_t: nll(val_scores / np.exp(log_t), val_labels),
        bounds=(np.log(0.05), np.log(1000.0)),
        method="bounded",
    )
    found, temperature = metrics_of(encoded, scale=scale), np.exp(fitted.x)
    assert abs(np.log(temperature)) > 0.1  # far from a temperature that changes nothing
    assert found["test", "temperature"] == pytest.approx(temperature, rel=1e-3)
    calibrated = scores / found["test", "temperature"]
    assert found["test", "nll_calibrated"] == pytest.approx(nll(calibrated, labels), rel=1e-9)
    assert found["test", "ece_calibrated"] == evaluate(calibrated, labels)["ece"]
    assert found["test", "nll"] == pytest.approx(nll(scores, labels), rel=1e-9)
    assert found["validation", "nll"] == pytest.approx(nll(val_scores, val_labels), rel=1e-9)


@pytest.mark.parametrize("validation", [True, False])
def test_without_validation_images_the_temperature_is_that_of_held_out_shots(
    encoded: EncodedDataset, *, validation: bool
) -> None:
    splits = SplitSpec(shots=[4], seeds=[1], validation=validation).splits(encoded.dataset.index)
    (spec,) = plan_runs(encoded, [create_method("gda")], splits)
    held_out = HeldOut(
        **dict(zip(("logits", "labels"), scores_of(encoded, np.arange(12), scale=9.0), strict=True))
    )
    fitted = Fitted(classifier=first_numbers(9.0), held_out=held_out, selected_on="held-out shots")
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    found = completed_run(sweep, spec, fitted)
    expected = fit_temperature(held_out.logits, held_out.labels)
    assert (found.metrics["test", "temperature"] == expected) is not validation
    assert (("validation", "accuracy") in found.metrics) is validation
    accuracy = (held_out.logits.argmax(axis=1) == held_out.labels).mean()
    assert found.metrics["held-out", "accuracy"] == pytest.approx(accuracy)
    assert found.run.n_validation == len(splits[0].val_rows)


def test_without_images_of_selection_no_temperature_is_fitted(encoded: EncodedDataset) -> None:
    splits = SplitSpec(shots=[4], seeds=[1], validation=False).splits(encoded.dataset.index)
    (spec,) = plan_runs(encoded, [create_method("gda", {"selection": "none"})], splits)
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    found = completed_run(sweep, spec, Fitted(classifier=first_numbers(1.0)))
    assert {split for split, _ in found.metrics} == {"test"}
    assert ("test", "temperature") not in found.metrics


def test_an_oracle_is_called_one_and_has_no_temperature(encoded: EncodedDataset) -> None:
    index = encoded.dataset.index
    (few,) = SplitSpec(shots=[4], seeds=[1]).splits(index)
    oracle = replace(few, val_rows=index.rows("test"))
    with pytest.raises(SweepError, match="a split validates on test images"):
        plan_runs(encoded, [create_method("gda")], [oracle])
    (spec,) = plan_runs(encoded, [create_method("gda")], [oracle], selection_images="test")
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    found = completed_run(
        sweep, spec, Fitted(classifier=first_numbers(1.0), selected_on="validation")
    )
    assert found.run.selected_on == "test (oracle)"
    assert {split for split, _ in found.metrics} == {"test"}
    assert ("test", "temperature") not in found.metrics


def test_calibrated_numbers_do_not_depend_on_the_scale_of_the_logits(
    encoded: EncodedDataset,
) -> None:
    small, large = (metrics_of(encoded, scale=scale) for scale in (5.0, 15.0))
    # Both searches for a temperature end within 1e-5 in its logarithm.
    assert large["test", "temperature"] == pytest.approx(3 * small["test", "temperature"], rel=1e-4)
    for name in ("nll_calibrated", "ece_calibrated"):
        assert large["test", name] == pytest.approx(small["test", name], rel=1e-3)
    assert large["test", "nll"] != pytest.approx(small["test", "nll"], rel=0.1)


def test_validation_images_are_predicted_with_the_probability_of_their_label(
    encoded: EncodedDataset,
) -> None:
    (spec,) = plan(encoded, methods=["linear-probe"], shots=[4], seeds=[1])
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    result = completed_run(sweep, spec, Fitted(classifier=first_numbers(5.0), settings={}))
    (validation,) = result.other_predictions
    test = result.predictions
    assert test is not None
    assert (test.split, validation.split, validation.fold) == ("test", "validation", None)
    test_rows = DatasetFeatures(encoded).test_rows()
    for found, rows in ((validation, spec.split.val_rows), (test, test_rows)):
        scores, labels = scores_of(encoded, rows, scale=5.0)
        probabilities = np.exp(log_softmax(scores.astype(np.float64), axis=1))
        digests = [encoded.dataset.index.image_sha256[row] for row in rows]
        assert list(found.image_sha256) == digests
        np.testing.assert_array_equal(found.label, labels)
        np.testing.assert_allclose(
            found.label_probability, probabilities[np.arange(len(rows)), labels]
        )
        assert float((found.predicted == found.label).mean()) == pytest.approx(
            result.metrics[found.split, "accuracy"]
        )


@pytest.mark.parametrize("method", ["linear-probe", "gda", "tip-adapter"])
def test_held_out_shots_are_predicted_by_fold_as_the_images_that_they_are(
    encoded: EncodedDataset, method: str
) -> None:
    splits = SplitSpec(shots=[4], seeds=[1], validation=False).splits(encoded.dataset.index)
    chosen = create_method(method, {"selection": "held-out-shots"})
    (spec,) = plan_runs(encoded, [chosen], splits)
    features = DatasetFeatures(encoded)
    (fitted,) = chosen.fit([features.task(spec.split, chosen)])
    result = completed_run(Sweep(features, device="cpu", sweep_id="sweep"), spec, fitted)
    found = result.other_predictions
    assert [(each.split, each.fold) for each in found] == [("held-out", n) for n in range(4)]
    index = encoded.dataset.index
    labels = {index.image_sha256[row]: index.labels[row] for row in spec.split.train_rows}
    digests = [digest for each in found for digest in each.image_sha256]
    assert sorted(digests) == sorted(labels)  # each training image in one fold
    assert [labels[digest] for digest in digests] == np.concatenate(
        [each.label for each in found]
    ).tolist()
    right = np.concatenate([each.predicted == each.label for each in found])
    assert right.mean() == pytest.approx(result.metrics["held-out", "accuracy"])


def test_calibration_curves_are_test_images_in_bins_after_temperature(
    encoded: EncodedDataset,
) -> None:
    (spec,) = plan(encoded, methods=["linear-probe"], shots=[4], seeds=[1])
    sweep = Sweep(DatasetFeatures(encoded), device="cpu", sweep_id="sweep")
    result = completed_run(sweep, spec, Fitted(classifier=first_numbers(50.0), settings={}))
    scores, labels = scores_of(encoded, DatasetFeatures(encoded).test_rows(), scale=50.0)
    calibrated = scores.astype(np.float64) / result.metrics["test", "temperature"]
    probabilities = np.exp(log_softmax(calibrated, axis=1))
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    for number in range(CALIBRATION_BINS):
        low, high = number / CALIBRATION_BINS, (number + 1) / CALIBRATION_BINS
        inside = (confidence >= low) & ((confidence < high) | (number == CALIBRATION_BINS - 1))
        point = [
            result.curves[f"calibrated_{name}"][number]
            for name in ("count", "confidence", "accuracy")
        ]
        assert point[0] == inside.sum()
        if inside.any():
            assert point[1:] == pytest.approx([confidence[inside].mean(), right[inside].mean()])
        else:
            assert np.isnan(point[1:]).all()
