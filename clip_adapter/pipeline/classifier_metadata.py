"""Makes the metadata of a classifier's file from the record of its run."""

import re
from datetime import UTC

import clip_adapter
from clip_adapter.datasets import ImageSource
from clip_adapter.encoders import BUILT_IN, LOCAL_DIR
from clip_adapter.methods.classifier_metadata import ClassifierMetadata, EncoderMetadata, Score
from clip_adapter.pipeline.encoding import Encoding
from clip_adapter.runs import RunRecord, query
from feature_cache import FeatureStore, Location

_MEASURED = """
SELECT name, value FROM metrics
WHERE run_id = $run_id AND split = 'test' AND name IN ('accuracy', 'temperature')
"""
_OPENAI = re.compile(r"[A-Za-z0-9_-]+:openai")


def classifier_metadata(
    root: Location,
    run: RunRecord,
    *,
    is_imported: bool,
    encoding: Encoding | None = None,
    source: ImageSource | None = None,
) -> ClassifierMetadata:
    """The metadata of a classifier that was fitted for a recorded run.

    Args:
        root: folder or URL of the store that has the run.
        run: record of the run.
        is_imported: whether its features were imported, so that no model can encode images.
        encoding: the encoder as it was requested; None where that is not known.
        source: the dataset with what its file says about licence and citation; None where that is
            not known.

    Raises:
        FeatureCacheError: a file of the store is damaged.
    """
    measured = query(root, _MEASURED, {"run_id": run.run_id}).to_pylist()
    metrics = {row["name"]: row["value"] for row in measured}
    return ClassifierMetadata(
        encoder=_encoder(root, run, is_imported=is_imported, encoding=encoding),
        dataset=run.dataset,
        index_fingerprint=run.index_fingerprint,
        run_fingerprint=run.fingerprint,
        shots=run.shots,
        seed=run.seed,
        n_train=run.n_train,
        n_validation=run.n_validation,
        selected_on=run.selected_on,
        templates=run.templates,
        class_prompts=run.class_prompts or (),
        temperature=metrics.get("temperature"),
        scores=accuracy_score(metrics.get("accuracy"), n_images=run.n_test),
        trained_on=run.started_at.astimezone(UTC).date(),
        version=clip_adapter.__version__,
        dataset_licence=source.licence if source else None,
        dataset_citation=source.citation if source else None,
    )


def _encoder(
    root: Location, run: RunRecord, *, is_imported: bool, encoding: Encoding | None
) -> EncoderMetadata:
    described = FeatureStore(root, run.encoder).description()
    return EncoderMetadata(
        model=run.model,
        fingerprint=run.encoder,
        is_imported=is_imported,
        weights_sha256=described.get("weights_sha256"),
        precision=run.precision,
        resize=encoding.resize if encoding else None,
        preprocessing_tag=encoding.preprocessing if encoding else None,
        preprocessing=described.get("preprocessing"),
        logit_scale=run.logit_scale,
        logit_bias=run.logit_bias,
        licence=None if is_imported else _licence(run.model),
    )


def _licence(model: str) -> str | None:
    """The licence of weights by the name of their model; None where it is not known."""
    if model == BUILT_IN:
        return "Apache-2.0"
    # https://github.com/openai/CLIP, LICENSE; folders and paths name other weights.
    is_tag = not model.startswith(LOCAL_DIR) and _OPENAI.fullmatch(model)
    return "MIT" if is_tag else None


def accuracy_score(accuracy: float | None, *, n_images: int) -> tuple[Score, ...]:
    """Accuracy on the test split with its 95 % interval over images, Wilson's (1927).

    Args:
        accuracy: a fraction; None where it was not measured, which gives no score.
        n_images: number of test images.
    """
    if accuracy is None:
        return ()
    from scipy.stats import binomtest  # noqa: PLC0415  # takes half a second to import

    found = binomtest(round(accuracy * n_images), n_images).proportion_ci(method="wilson")
    return (
        Score(
            name="accuracy",
            split="test",
            value=accuracy,
            low=float(found.low),
            high=float(found.high),
            n_images=n_images,
        ),
    )
