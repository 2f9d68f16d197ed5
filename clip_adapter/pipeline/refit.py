"""Fits a recorded run again, since runs are stored without their classifiers."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clip_adapter.datasets import FewShotSplit, ImageSource
from clip_adapter.devices import choose_device
from clip_adapter.errors import ClipAdapterError, DataError
from clip_adapter.images import augmented_views
from clip_adapter.methods import Method, SavedClassifier, create_method, fit_method, setting_names
from clip_adapter.methods.conformal import calibration_of
from clip_adapter.pipeline.classifier_metadata import accuracy_score, classifier_metadata
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.encode import EncodedDataset
from clip_adapter.pipeline.encoding import Encoding, n_views
from clip_adapter.pipeline.index import IndexedDataset, index_of_table
from clip_adapter.pipeline.open_vocabulary import base_splits, count_base_classes, tested_classifier
from clip_adapter.pipeline.plan import any_split, digested_choice, plan_runs
from clip_adapter.pipeline.provenance import digest_settings
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.pipeline.train import selection_of
from clip_adapter.runs import RequestStore, RunRecord, RunStoreError, query
from feature_cache import IndexStore, Location
from feature_cache.exchange import imported_names

MOST_CHANGED = 0.01
"""Largest fraction of the recorded predictions that a classifier may contradict if the code, the
settings or the data could be others. If all are the same, only rounding differs, which a long training
can amplify."""

_SPLIT = """
SELECT role, image_sha256, label FROM splits
WHERE split_fingerprint = $split AND dataset = $dataset AND index_fingerprint = $index
ORDER BY role, position
"""
_PREDICTED = "SELECT image_sha256, predicted FROM predictions WHERE run_id = $run_id"


def refit(
    root: Location, run: RunRecord, *, device: str = "auto", reporter: Reporter
) -> SavedClassifier:
    """Fit the classifier of a recorded run from the stored features.

    Its predictions on the test split are compared with the recorded ones. That of a base-to-new run has
    the new classes by name, as it was tested, as that of a budget has the classes without an image; such
    a classifier cannot be saved.

    Args:
        root: folder or URL of the store that has the run.
        run: record of a completed run.
        device: torch device that fits, such as "cuda:0", or "auto".
        reporter: where to report predictions that differ from the recorded ones.

    Raises:
        RunStoreError: the run failed, chose on test images or is a test on another dataset, or the
            images that it learned from are not recorded.
        DataError: the classifier contradicts the recorded predictions.
        FeatureCacheError: features or the index are no longer stored, or damaged.
    """
    check_has_classifier(run)
    method, features = method_and_features(root, run)
    split = _split(root, run, features) if method.learns else any_split(features.index)
    n_base = None
    if run.protocol == "base-to-new":
        n_base = count_base_classes(features.encoded.dataset)
        (split,) = base_splits([split], features.index.labels, n_base=n_base)
    (spec,) = plan_runs(
        features.encoded,
        [method],
        [split],
        image_choice=run.image_choice,
        study=run.study,
        n_base_classes=n_base,
        selection_images=(run.hyperparameters or {}).get("selection_images", "few"),
    )
    task = features.task(spec.split, method, classes=spec.trained_classes)
    (fitted,) = fit_method(method, [task], device=choose_device(device))
    classifier = tested_classifier(
        fitted.classifier, features, classes=spec.trained_classes, method=run.method
    )
    metadata = classifier_metadata(
        root, run, is_imported=features.encoded.dataset.is_imported, encoding=features.encoding
    )
    is_extended = len(classifier.class_names) > len(task.class_names)
    saved = SavedClassifier(
        classifier=classifier,
        method=run.method,
        settings=fitted.settings,
        encoder=run.encoder,
        logit_bias=run.logit_bias,
        metadata=metadata,
        calibration=None
        if is_extended
        else calibration_of(fitted, task, temperature=metadata.temperature),
    )
    is_same = spec.fingerprint == run.fingerprint
    n_changed, accuracy = _compare(root, run, saved, features)
    _report(run, n_changed, is_same=is_same, n_images=len(features.test_rows()), reporter=reporter)
    if n_changed and saved.metadata:
        scores = accuracy_score(accuracy, n_images=run.n_test)
        return replace(saved, metadata=saved.metadata.model_copy(update={"scores": scores}))
    return saved


def check_has_classifier(run: RunRecord) -> None:
    """Return if a run made a classifier of its dataset.

    Raises:
        RunStoreError: the run failed, chose on test images or is a test on another dataset.
    """
    if run.status != "completed":
        raise RunStoreError(f"run {run.run_id} failed, so that there is no classifier: {run.error}")
    if run.selected_on == "test (oracle)":
        raise RunStoreError(
            f"run {run.run_id} chose its settings on the test images, which shows what choosing could gain "
            "and makes no classifier: name a run of another selection"
        )
    if run.protocol in {"domain-shift", "cross-dataset"}:
        on = run.tested_on.dataset if run.tested_on else "another dataset"
        raise RunStoreError(
            f"run {run.run_id} is the test of a classifier of {run.dataset} on {on}: name the run of "
            f"{run.dataset} itself, `SELECT * FROM current_runs WHERE dataset = '{run.dataset}' AND method "
            f"= '{run.method}' AND split_fingerprint = '{run.split_fingerprint}'`, whose classifier it is"
        )


def method_and_features(root: Location, run: RunRecord) -> tuple[Method, DatasetFeatures]:
    """The method of a run with its settings, and the stored features of its dataset as it saw it.

    Features are read on first access.

    Args:
        root: folder or URL of the store that has the run.
        run: record of a completed run.

    Raises:
        FeatureCacheError: the index is no longer stored, or a file is damaged.
    """
    asked = _parameters(root, run)
    method = _method(run, asked)
    encoded = _encoded(root, run, n_views(method), asked)
    return method, DatasetFeatures(encoded, encoding_of_run(root, run))


def recorded_images(root: Location, run: RunRecord) -> dict[str, list[tuple[bytes, int]]]:
    """Digests and class numbers of the images of a run's few-shot split, in their order, by role.

    Args:
        root: folder or URL of the store that has the run.
        run: record of a run of a method that learns from images.

    Returns:
        The images of the roles "train" and "validation".

    Raises:
        RunStoreError: the images that the run learned from are not recorded.
    """
    asked = {
        "split": run.split_fingerprint,
        "dataset": run.dataset,
        "index": run.index_fingerprint,
    }
    images: dict[str, list[tuple[bytes, int]]] = {"train": [], "validation": []}
    for row in query(root, _SPLIT, asked).to_pylist():
        images[row["role"]].append((bytes.fromhex(row["image_sha256"]), row["label"]))
    if not images["train"]:
        raise RunStoreError(
            f"the images that run {run.run_id} learned from are not recorded: train it again with "
            "--retrain"
        )
    return images


def _parameters(root: Location, run: RunRecord) -> dict[str, Any]:
    """The parameters of the last request that the run answers; empty if none is recorded."""
    for request in reversed(RequestStore(root).history(run.dataset)):
        if run.fingerprint in request.run_fingerprints:
            found: dict[str, Any] = json.loads(request.parameters)
            return found
    return {}


def _method(run: RunRecord, asked: dict[str, Any]) -> Method:
    """The method with the settings of the run: those requested, else those recorded."""
    for settings in _settings(run, asked):
        with suppress(ClipAdapterError):
            method = create_method(run.method, settings)
            if run.settings_fingerprint in _fingerprints(run, method):
                return method
    return create_method(run.method, _recorded(run))


def _settings(run: RunRecord, asked: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    for_all = selection_of(run.method, asked.get("selection"))
    yield {**for_all, **((asked.get("settings") or {}).get(run.method) or {})}
    yield None
    yield _recorded(run)


def _recorded(run: RunRecord) -> dict[str, Any]:
    known = setting_names(type(create_method(run.method)))
    values = dict(run.hyperparameters or vars(run.settings))
    if "length" in values:  # with `epochs` set and no length, all of them would be trained
        values["lengths"] = [values["length"]]
    return {name: values[name] for name in known if values.get(name) is not None}


def _fingerprints(run: RunRecord, method: Method) -> list[str]:
    """The fingerprints of the settings with and without published choices and validation images."""
    prompts: dict[str, Any] = {"class_names": run.class_names, "templates": run.templates}
    if run.class_prompts:
        prompts["class_prompts"] = run.class_prompts
    images = (run.hyperparameters or {}).get("selection_images")
    if images is not None:
        prompts["selection_images"] = images
    # Runs of earlier versions do not tell what chose their images.
    return [
        digest_settings(method, **prompts, **choice, **further)
        for choice in (digested_choice(run.image_choice), {"published": True})
        for further in ({}, {"validation": False})
    ]


def encoding_of_run(root: Location, run: RunRecord) -> Encoding:
    """The encoder of a run with the options of the request that the run answers.

    Args:
        root: folder or URL of the store.
        run: record of the run.

    Raises:
        FeatureCacheError: a file of requests is damaged.
    """
    asked = _parameters(root, run)
    return Encoding(
        model=run.model,
        precision=run.precision,  # type: ignore[arg-type]  # as recorded
        resize=asked.get("resize"),
        preprocessing=asked.get("preprocessing"),
    )


def _encoded(root: Location, run: RunRecord, views: int, asked: dict[str, Any]) -> EncodedDataset:
    """The dataset in the state in which the run saw it, with its stored features."""
    table = IndexStore(root, run.dataset).read(run.index_fingerprint)
    source = ImageSource(run.dataset, Path(), run.class_names, run.templates, files=())
    index = index_of_table(table, source)
    dataset = IndexedDataset(
        root=root,
        name=run.dataset,
        folder=Path(),
        index_fingerprint=run.index_fingerprint,
        class_names=run.class_names,
        templates=run.templates,
        n_images=len(index),
        n_quarantined=0,
        n_leaked=run.n_leaked,
        is_imported=run.dataset in imported_names(root),
        class_prompts=run.class_prompts or (),
    ).with_index(index)
    return EncodedDataset(
        dataset=dataset,
        model=run.model,
        encoder=run.encoder,
        precision=run.precision,
        logit_scale=run.logit_scale,
        logit_bias=run.logit_bias,
        n_reused=0,
        n_encoded=0,
        n_prompts_encoded=0,
        seconds=0.0,
        augmented_views=tuple(augmented_views(views, asked.get("augmentation") or "tip-adapter")),
    )


def _split(root: Location, run: RunRecord, features: DatasetFeatures) -> FewShotSplit:
    index = features.index
    labels = index.labels.tolist()
    # Of copies of one image in one class, any row has the same feature.
    row_of = {key: row for row, key in enumerate(zip(index.image_sha256, labels, strict=True))}
    rows = {
        role: np.array([row_of[image] for image in images], dtype=np.int64)
        for role, images in recorded_images(root, run).items()
    }
    return FewShotSplit(run.shots, run.seed or 0, rows["train"], rows["validation"])


def _compare(
    root: Location, run: RunRecord, saved: SavedClassifier, features: DatasetFeatures
) -> tuple[int, float]:
    """The number of test images with another prediction than the recorded one, and the accuracy."""
    recorded = query(root, _PREDICTED, {"run_id": run.run_id}).to_pylist()
    expected = {bytes.fromhex(row["image_sha256"]): row["predicted"] for row in recorded}
    rows = features.test_rows()
    predicted = saved.classifier.logits(features.image_features(rows)).argmax(axis=1)
    n_changed = sum(
        expected.get(digest, label) != label
        for digest, label in zip(features.digests(rows), predicted.tolist(), strict=True)
    )
    return n_changed, float((predicted == features.index.labels[rows]).mean())


def _report(
    run: RunRecord, n_changed: int, *, is_same: bool, n_images: int, reporter: Reporter
) -> None:
    differs = (
        f"run {run.run_id}, fitted again, predicts another class than it did for {n_changed} of "
        f"{n_images} test images"
    )
    if not is_same and n_changed > MOST_CHANGED * n_images:
        raise DataError(
            f"{differs}: it was trained by another version of the code, or with settings that are not "
            "recorded; train it again with --retrain"
        )
    if n_changed:
        reporter.log(
            f"{differs}, as runs that are trained together, or on another machine, round otherwise; "
            "its accuracy is measured again"
        )
