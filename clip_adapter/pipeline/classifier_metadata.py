"""Makes the metadata of a fitted classifier's file from the run that it was fitted for."""

from datetime import UTC
from typing import Any

import clip_adapter
from clip_adapter.encoders import BUILT_IN
from clip_adapter.methods import Fitted
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, EncoderMetadata, Score
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.runs import RunStoreError, query
from feature_cache import FeatureStore, Location

_RUN = """
SELECT
    started_at, n_train, n_validation, n_test, selected_on,
    (FROM metrics SELECT max(value) WHERE run_id = $run_id AND split = 'test' AND name = 'accuracy')
        AS accuracy,
    (FROM metrics SELECT max(value) WHERE run_id = $run_id AND split = 'test' AND name = 'temperature')
        AS temperature
FROM runs WHERE run_id = $run_id
"""
_LICENCES = {BUILT_IN: "Apache-2.0", "openai": "MIT"}
"""Licences of weights: the built-in ones, and OpenAI's, https://github.com/openai/CLIP, LICENSE."""


def classifier_metadata(
    features: DatasetFeatures, spec: RunSpec, fitted: Fitted, *, run_id: str
) -> ClassifierMetadata:
    """The metadata of a classifier that was fitted for a recorded run.

    Args:
        features: features of the dataset that the run was trained on.
        spec: specification of the run.
        fitted: the classifier.
        run_id: id of the run.

    Raises:
        RunStoreError: the run is not recorded.
        FeatureCacheError: a file of runs is damaged.
    """
    encoded = features.encoded
    dataset, source = encoded.dataset, features.index.source
    run = _run(dataset.root, run_id)
    return ClassifierMetadata(
        encoder=_encoder(features),
        dataset=dataset.name,
        index_fingerprint=dataset.index_fingerprint,
        run_fingerprint=spec.fingerprint,
        shots=spec.shots,
        seed=spec.seed,
        n_train=run["n_train"],
        n_validation=run["n_validation"],
        selected_on=fitted.selected_on,
        templates=dataset.templates,
        class_prompts=dataset.class_prompts,
        temperature=run["temperature"],
        scores=_scores(run),
        trained_on=run["started_at"].astimezone(UTC).date(),
        version=clip_adapter.__version__,
        dataset_licence=source.licence,
        dataset_citation=source.citation,
    )


def _run(root: Location, run_id: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = query(root, _RUN, {"run_id": run_id}).to_pylist()
    if not rows:
        raise RunStoreError(f"run {run_id} is not recorded: train it again")
    return rows[0]


def _encoder(features: DatasetFeatures) -> EncoderMetadata:
    encoded, encoding = features.encoded, features.encoding
    described = FeatureStore(encoded.dataset.root, encoded.encoder).description()
    is_imported = encoded.dataset.is_imported
    tag = encoded.model.rpartition(":")[2]
    return EncoderMetadata(
        model=encoded.model,
        fingerprint=encoded.encoder,
        is_imported=is_imported,
        weights_sha256=described.get("weights_sha256"),
        precision=encoded.precision,
        resize=encoding.resize if encoding else None,
        preprocessing_tag=encoding.preprocessing if encoding else None,
        preprocessing=described.get("preprocessing"),
        logit_scale=encoded.logit_scale,
        logit_bias=encoded.logit_bias,
        licence=None if is_imported else _LICENCES.get(tag),
    )


def _scores(run: dict[str, Any]) -> tuple[Score, ...]:
    """Accuracy on the test split with its 95 % interval over images (Wilson 1927)."""
    from scipy.stats import binomtest  # noqa: PLC0415  # takes half a second to import

    if run["accuracy"] is None:
        return ()
    n = int(run["n_test"])
    n_correct = round(run["accuracy"] * n)
    interval = binomtest(n_correct, n).proportion_ci(method="wilson")
    return (
        Score(
            name="accuracy",
            split="test",
            value=run["accuracy"],
            low=float(interval.low),
            high=float(interval.high),
            n_images=n,
        ),
    )
