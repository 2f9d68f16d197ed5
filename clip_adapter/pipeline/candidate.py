"""The run of a sweep that is compared with the champion, and its classifier."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from clip_adapter.methods import Method, SavedClassifier, fit_method
from clip_adapter.pipeline.classifier_metadata import classifier_metadata
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.runs import RunStoreError, find_run, query
from clip_adapter.shots import shots_in_words
from feature_cache import Location

_ON_VALIDATION = """
WITH validated AS (
    SELECT
        run_id,
        max(value) FILTER (name = 'accuracy') AS accuracy,
        max(value) FILTER (name = 'nll') AS nll
    FROM metrics WHERE split = 'validation' GROUP BY run_id
)
SELECT fingerprint, run_id, accuracy, nll
FROM runs JOIN validated USING (run_id) LEFT JOIN asked_runs USING (run_id)
WHERE status = 'completed' AND dataset = $dataset AND fingerprint IN $fingerprints
QUALIFY row_number() OVER (PARTITION BY fingerprint ORDER BY named DESC NULLS LAST, run_id) = 1
"""


def check_can_promote(methods: Iterable[Method]) -> None:
    """Raise if no method can become the champion.

    Raises:
        RunStoreError: no method learns from images, so that there is nothing to validate.
    """
    asked = list(methods)
    if not any(method.learns for method in asked):
        names = ", ".join(method.name for method in asked)
        raise RunStoreError(
            f"of {names or 'no methods'} none learns, so that there is no candidate "
            "to promote: train linear-probe or clip-adapter as well, or do not promote"
        )


def choose_candidate(
    root: Location, specs: Sequence[RunSpec], *, dataset: str
) -> tuple[RunSpec, str]:
    """Choose the first seed of the best method on validation, at the largest number of shots.

    Best is the highest mean accuracy over seeds, then the lowest mean NLL, then the order of the
    request. The test split is not used, and the best seed of a method is not preferred.

    Returns:
        The specification from which the run is fitted again, and the id of the recorded run.

    Raises:
        RunStoreError: no run of the sweep is recorded with its validation metrics.
    """
    most = max(spec.shots for spec in specs)
    learning = [spec for spec in specs if spec.method.learns and spec.shots == most]
    validated = _on_validation(root, [spec.fingerprint for spec in learning], dataset=dataset)
    by_method: dict[str, list[RunSpec]] = {}
    for spec in learning:
        if spec.fingerprint in validated:
            by_method.setdefault(spec.method.name, []).append(spec)
    if not by_method:
        raise RunStoreError(
            f"none of the {len(learning)} runs with {shots_in_words(most)} is recorded with its accuracy on "
            "validation: train them again with --retrain"
        )
    best = min(by_method.values(), key=lambda specs: _rank(specs, validated))
    return best[0], validated[best[0].fingerprint]["run_id"]


def fit_candidate(
    features: DatasetFeatures, spec: RunSpec, *, run_id: str, device: str
) -> SavedClassifier:
    """Fit a recorded run again; equal images, settings and seed give an equal classifier.

    Args:
        features: features of the dataset that the run was trained on.
        spec: specification of the run.
        run_id: id of the run, whose scores the classifier's file names.
        device: torch device that fits, such as "cuda:0".

    Raises:
        UnknownNameError: there is no run of that id.
    """
    task = features.task(spec.split, spec.method)
    (fitted,) = fit_method(spec.method, [task], device=device)
    encoded, encoding, source = features.encoded, features.encoding, features.index.source
    metadata = classifier_metadata(
        encoded.dataset.root,
        find_run(encoded.dataset.root, run_id),
        is_imported=encoded.dataset.is_imported,
        encoding=encoding,
        source=source,
    )
    return SavedClassifier(
        classifier=fitted.classifier,
        method=spec.method.name,
        settings=fitted.settings,
        encoder=encoded.encoder,
        logit_bias=encoded.logit_bias,
        metadata=metadata,
    )


def _rank(specs: Sequence[RunSpec], validated: Mapping[str, Any]) -> tuple[float, float]:
    rows = [validated[spec.fingerprint] for spec in specs]
    return -mean(row["accuracy"] for row in rows), mean(row["nll"] for row in rows)


def _on_validation(
    root: Location, fingerprints: Sequence[str], *, dataset: str
) -> dict[str, dict[str, Any]]:
    """The runs with metrics on validation, by fingerprint: `run_id`, `accuracy` and `nll`."""
    asked = {"dataset": dataset, "fingerprints": list(fingerprints)}
    rows = query(root, _ON_VALIDATION, asked).to_pylist()
    return {row["fingerprint"]: row for row in rows}
