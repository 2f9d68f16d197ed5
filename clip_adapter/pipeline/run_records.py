"""Makes the rows of the run store from a fitted classifier."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import log_softmax

from clip_adapter.methods import Fitted, Method, settings_of
from clip_adapter.methods.method import HeldOut
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.open_vocabulary import evaluate_base_and_new, tested_classifier
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.pipeline.provenance import git_commit, peak_memory_bytes, versions
from clip_adapter.pipeline.transfer import Target
from clip_adapter.runs import (
    Candidate,
    EvaluatedOn,
    ImagePredictions,
    RunRecord,
    RunResult,
    RunSettings,
    SelectedOn,
    SplitImages,
    SplitRecord,
)
from clip_adapter.training import evaluate, fit_temperature, predict

CALIBRATION_BINS = 10
"""Bins of the recorded curves of confidence against accuracy."""


@dataclass(frozen=True)
class Sweep:
    """Properties that all runs of one sweep share.

    Attributes:
        features: features of the dataset.
        device: torch device that trains, such as "cuda:0".
        sweep_id: identifier of the sweep in the run store.
        study: name of the study that the runs belong to.
        variant: name of the variant of that study.
        started_at: time at which the sweep began.
        targets: features of other datasets to test on, by name, each read once.
    """

    features: DatasetFeatures
    device: str
    sweep_id: str
    study: str | None = None
    variant: str = ""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    targets: dict[str, DatasetFeatures] = field(default_factory=dict)

    def features_of(self, target: Target) -> DatasetFeatures:
        """Features of another dataset to test on."""
        name = target.encoded.dataset.name
        if name not in self.targets:
            self.targets[name] = DatasetFeatures(target.encoded)
        return self.targets[name]

    def called(self, method: Method) -> str:
        """Name of the runs of a method in messages: the method, and the variant if there is one."""
        return f"{method.name}, {self.variant}" if self.variant else method.name


def completed_run(sweep: Sweep, spec: RunSpec, fitted: Fitted) -> RunResult:
    """Evaluate a fitted classifier on the test split and make the record of its run.

    This is the only place that reads the test split, after all selection; the study "selection" has
    oracles beside, see `RunSpec.selection_images`. The metrics are those of `evaluate` on "test", on
    "validation" where there are validation images, and on "held-out" where training images were left
    out in turn; where these chose settings, `nested_accuracy` and `nested_nll` are those of
    `Fitted.nested`, by which methods are compared. A temperature is fitted to the validation images, or to
    the left-out ones where there are none; "test" then also has `temperature`, `nll_calibrated` and
    `ece_calibrated`, and the run the curves of `_calibration_curves`. An oracle has none. In a run of base
    classes the others are added to the classifier by name before the test, whose images are of all classes;
    its further metrics are those of `evaluate_base_and_new`. A run that is tested on another dataset has
    metrics of "test" alone, on that dataset's test split. Predictions are those on test images and, for a
    run of all classes that is no oracle, on validation images.

    Raises:
        DataError: the classifier's logits are not finite.
    """
    method, n_base = spec.method.name, spec.n_base_classes
    features, classifier = sweep.features, fitted.classifier
    if spec.protocol != "cross-dataset":  # where none of the classes that were trained is tested
        classifier = tested_classifier(
            classifier, features, classes=spec.trained_classes, method=method
        )
    if spec.target is None:
        scores = classifier.logits(features.image_features(features.test_rows()))
    else:
        features = sweep.features_of(spec.target)
        scores = spec.target.logits(classifier, features, method=method)
    rows = features.test_rows()
    labels = features.index.labels[rows]
    metrics = _named("test", evaluate(scores, labels))
    if n_base is not None:
        metrics |= evaluate_base_and_new(scores, labels, n_base=n_base)
    validation = None
    curves: dict[str, Sequence[float]] = {}
    if spec.target is None and not spec.is_oracle:
        validation = _validation(sweep, spec, fitted)
        beside = _beside_test(validation, fitted, scores=scores, labels=labels)
        metrics |= beside
        if temperature := beside.get(("test", "temperature")):
            curves = _calibration_curves(scores / temperature, labels)
    if fitted.loss_curve and spec.target is None:
        curves["loss"] = fitted.loss_curve
    others = []
    if validation is not None and n_base is None:
        digests = features.digests(spec.split.val_rows)
        others = [_predictions(validation.logits, validation.labels, digests, split="validation")]
    if spec.target is None and n_base is None and fitted.held_out is not None:
        others += _of_folds(fitted.held_out, features.digests(spec.split.train_rows))
    return RunResult(
        run=_record(sweep, spec, fitted),
        metrics=metrics,
        curves=curves,
        predictions=_predictions(scores, labels, features.digests(rows), split="test"),
        other_predictions=others,
        split=_split(sweep, spec),
    )


def _predictions(
    scores: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
    digests: Sequence[bytes],
    *,
    split: str,
) -> ImagePredictions:
    predictions = predict(scores)
    of_labels = np.take_along_axis(
        log_softmax(scores.astype(np.float64), axis=1), labels[:, None], axis=1
    )
    return ImagePredictions(
        image_sha256=digests,
        label=labels,
        predicted=predictions.predicted,
        confidence=predictions.confidence,
        margin=predictions.margin,
        label_probability=np.exp(of_labels[:, 0]),
        split=split,
    )


def _of_folds(held_out: HeldOut, training_images: Sequence[bytes]) -> list[ImagePredictions]:
    """The predictions on the training images that each fold leaves out."""
    ends = np.cumsum([len(rows) for rows in held_out.rows])
    parts = zip(np.split(held_out.logits, ends), np.split(held_out.labels, ends), strict=True)
    return [
        replace(
            _predictions(logits, labels, [training_images[row] for row in rows], split="held-out"),
            fold=fold,
        )
        for fold, (rows, (logits, labels)) in enumerate(zip(held_out.rows, parts, strict=False))
    ]


def _calibration_curves(
    scores: Float[np.ndarray, "n c"], labels: Int[np.ndarray, " n"]
) -> dict[str, Sequence[float]]:
    """Confidence against accuracy in bins of equal width, of test logits with the fitted temperature.

    The step of a point is the number of its bin: number of images, mean confidence, and share of right ones,
    which are NaN in an empty bin.
    """
    found = predict(scores)
    bins = np.minimum((found.confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)

    def total(weights: np.ndarray | None = None) -> Float[np.ndarray, " bins"]:
        return np.bincount(bins, weights=weights, minlength=CALIBRATION_BINS).astype(np.float64)

    counts = total()
    filled = np.where(counts > 0, counts, np.nan)
    return {
        "calibrated_count": counts.tolist(),
        "calibrated_confidence": (total(found.confidence) / filled).tolist(),
        "calibrated_accuracy": (total(found.predicted == labels) / filled).tolist(),
    }


def _beside_test(
    validation: HeldOut | None,
    fitted: Fitted,
    *,
    scores: Float[np.ndarray, "n c"],
    labels: Int[np.ndarray, " n"],
) -> dict[tuple[str, str], float]:
    """Metrics of the images of model selection, and of test logits with the temperature from them."""
    known = {
        split: images
        for split, images in (("validation", validation), ("held-out", fitted.held_out))
        if images is not None
    }
    if not known:
        return {}
    metrics = {
        key: value
        for split, images in known.items()
        for key, value in _named(split, evaluate(images.logits, images.labels)).items()
    }
    if fitted.nested is not None:
        chosen_on = "validation" if fitted.selected_on == "validation" else "held-out"
        nested = fitted.nested
        scores_of_choice = {
            "nested_accuracy": nested.validation_accuracy,
            "nested_nll": nested.validation_nll,
        }
        metrics |= _named(chosen_on, scores_of_choice)
    first = next(iter(known.values()))
    temperature = fit_temperature(first.logits, first.labels)
    after = evaluate(scores / temperature, labels)
    calibrated = {f"{name}_calibrated": after[name] for name in ("nll", "ece")}
    return {**metrics, **_named("test", {"temperature": temperature, **calibrated})}


def _validation(sweep: Sweep, spec: RunSpec, fitted: Fitted) -> HeldOut | None:
    """Logits of the validation images; None where there are none."""
    rows = spec.split.val_rows
    if not spec.method.learns or not len(rows):
        return None
    return HeldOut(
        logits=fitted.classifier.logits(sweep.features.image_features(rows)),
        labels=sweep.features.labels(rows, classes=spec.trained_classes),
    )


def _named(split: str, metrics: dict[str, float]) -> dict[tuple[str, str], float]:
    return {(split, name): value for name, value in metrics.items()}


def failed_run(sweep: Sweep, spec: RunSpec, error: str) -> RunResult:
    """Make the record of a run that failed, with the reason."""
    return RunResult(run=_record(sweep, spec, None, status="failed", error=error))


def _record(sweep: Sweep, spec: RunSpec, fitted: Fitted | None, **outcome: Any) -> RunRecord:
    encoded = sweep.features.encoded
    dataset = encoded.dataset
    learns = spec.method.learns
    settings = {**settings_of(spec.method), **fitted.settings} if fitted else {}
    # A setting of the run and not of the method: of study "selection" alone.
    others = {} if spec.selection_images == "few" else {"selection_images": spec.selection_images}
    record = RunRecord(
        run_id=uuid.uuid4().hex,
        fingerprint=spec.fingerprint,
        sweep_id=sweep.sweep_id,
        started_at=sweep.started_at,
        dataset=dataset.name,
        index_fingerprint=dataset.index_fingerprint,
        split_fingerprint=spec.split_fingerprint,
        class_names=dataset.class_names,
        templates=dataset.templates,
        class_prompts=dataset.class_prompts or None,
        model=encoded.model,
        encoder=encoded.encoder,
        logit_scale=encoded.logit_scale,
        logit_bias=encoded.logit_bias,
        method=spec.method.name,
        shots=spec.shots,
        seed=spec.seed,
        settings=RunSettings.of(settings),
        hyperparameters={**settings, **others},
        settings_fingerprint=spec.settings_fingerprint,
        tried=_candidates(fitted),
        study=sweep.study,
        image_choice=spec.image_choice,
        selected_on=_selected_on(spec, fitted),
        seconds_encode=encoded.seconds,
        seconds_train=fitted.seconds if fitted else 0.0,
        peak_memory_bytes=peak_memory_bytes(),
        n_train=len(spec.split.train_rows) if learns else 0,
        n_validation=len(spec.split.val_rows) if learns else 0,
        n_test=len(sweep.features.test_rows()),
        n_leaked=dataset.n_leaked,
        protocol=spec.protocol,
        device=sweep.device,
        precision=encoded.precision,
        versions=versions(),
        git_commit=git_commit(),
        **outcome,
    )
    return record if spec.target is None else _tested_on(record, sweep, spec, spec.target)


def _tested_on(record: RunRecord, sweep: Sweep, spec: RunSpec, target: Target) -> RunRecord:
    """The record of a run that is tested on another dataset, whose classes its predictions number."""
    dataset, features = target.encoded.dataset, sweep.features_of(target)
    tested = features.test_rows()
    record = replace(
        record,
        class_names=dataset.class_names,
        n_test=len(tested),
        n_leaked=target.n_leaked(spec.split, sweep.features.index) if spec.method.learns else 0,
        tested_on=EvaluatedOn(dataset=dataset.name, index_fingerprint=dataset.index_fingerprint),
    )
    if target.columns is not None:  # the prompts are those of the classifiers
        own = record.class_prompts
        prompts = own and tuple(own[column] for column in target.columns)
        return replace(record, class_prompts=prompts)
    return replace(record, templates=dataset.templates, class_prompts=dataset.class_prompts or None)


def _selected_on(spec: RunSpec, fitted: Fitted | None) -> SelectedOn:
    if fitted is None:
        return "nothing"
    if spec.is_oracle and fitted.selected_on == "validation":
        return "test (oracle)"
    return fitted.selected_on


def _candidates(fitted: Fitted | None) -> tuple[Candidate, ...] | None:
    if fitted is None or not fitted.candidates:
        return None
    return tuple(Candidate(**vars(one)) for one in fitted.candidates)


def _split(sweep: Sweep, spec: RunSpec) -> SplitRecord | None:
    if not spec.method.learns:
        return None
    dataset = sweep.features.encoded.dataset
    return SplitRecord(
        split_fingerprint=spec.split_fingerprint,
        dataset=dataset.name,
        index_fingerprint=dataset.index_fingerprint,
        shots=spec.split.shots,
        seed=spec.split.seed,
        train=_images(sweep, spec.split.train_rows),
        validation=_images(sweep, spec.split.val_rows),
    )


def _images(sweep: Sweep, rows: Int[np.ndarray, " n"]) -> SplitImages:
    return SplitImages(
        image_sha256=sweep.features.digests(rows), label=sweep.features.index.labels[rows]
    )
