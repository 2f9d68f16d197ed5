"""The run of a sweep that is compared with the champion, and its classifier."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from clip_adapter.methods import Method, SavedClassifier, fit_method
from clip_adapter.methods.conformal import calibration_of
from clip_adapter.pipeline.classifier_metadata import classifier_metadata
from clip_adapter.pipeline.dataset_features import DatasetFeatures
from clip_adapter.pipeline.plan import RunSpec
from clip_adapter.pipeline.reporter import Reporter
from clip_adapter.runs import RunStoreError, find_run, query
from clip_adapter.shots import shots_in_words
from feature_cache import Location

# An oracle, which chose on test images, is no candidate even where it is the only run.
AUTO = "auto"
"""The method that chooses among methods, and so is the candidate where it was trained."""
_MEASURED = """
WITH measured AS (
    SELECT
        run_id,
        -- Where images chose among settings, the score of the choice itself, else that of the classifier.
        coalesce(
            max(value) FILTER (split = 'validation' AND name = 'nested_accuracy'),
            max(value) FILTER (split = 'validation' AND name = 'accuracy')
        ) AS validation_accuracy,
        coalesce(
            max(value) FILTER (split = 'validation' AND name = 'nested_nll'),
            max(value) FILTER (split = 'validation' AND name = 'nll')
        ) AS validation_nll,
        coalesce(
            max(value) FILTER (split = 'held-out' AND name = 'nested_accuracy'),
            max(value) FILTER (split = 'held-out' AND name = 'accuracy')
        ) AS held_out_accuracy,
        coalesce(
            max(value) FILTER (split = 'held-out' AND name = 'nested_nll'),
            max(value) FILTER (split = 'held-out' AND name = 'nll')
        ) AS held_out_nll
    FROM metrics WHERE split IN ('validation', 'held-out') GROUP BY run_id
)
SELECT
    fingerprint, run_id,
    validation_accuracy, validation_nll, held_out_accuracy, held_out_nll
FROM runs LEFT JOIN measured USING (run_id) LEFT JOIN asked_runs USING (run_id)
WHERE status = 'completed' AND dataset = $dataset AND fingerprint IN $fingerprints
    AND selected_on <> 'test (oracle)'
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
    root: Location,
    specs: Sequence[RunSpec],
    *,
    dataset: str,
    reporter: Reporter = Reporter(),  # noqa: B008  # has no state
) -> tuple[RunSpec, str]:
    """Choose the first seed of the best method on validation, at the largest number of shots.

    Where auto is among them it is the candidate. Else best is the highest mean accuracy over seeds, then the
    lowest mean NLL, then the order of the request. Images that chose a run's settings score the choice
    itself: each is classified with the settings that others of them chose (`nested_score`), so that a method
    gains nothing by many settings to choose from. Where no run was measured on validation images, the
    accuracy on held-out shots ranks the methods; the two are never mixed, and a method that lacks what
    ranks the others is left out and reported. A single method needs neither. The test split is not used,
    and the best seed of a method is not preferred.

    Args:
        root: folder or URL of the store.
        specs: the runs of the sweep.
        dataset: name of the dataset.
        reporter: where to report what ranked the methods, and which were left out.

    Returns:
        The specification from which the run is fitted again, and the id of the recorded run.

    Raises:
        RunStoreError: no run of the sweep is recorded, or nothing is that ranks several methods.
    """
    most = max(spec.shots for spec in specs)
    learning = [spec for spec in specs if spec.method.learns and spec.shots == most]
    recorded = _recorded(root, [spec.fingerprint for spec in learning], dataset=dataset)
    by_method: dict[str, list[RunSpec]] = {}
    for spec in learning:
        if spec.fingerprint in recorded:
            by_method.setdefault(spec.method.name, []).append(spec)
    if not by_method:
        raise RunStoreError(
            f"none of the {len(learning)} runs with {shots_in_words(most)} is recorded: train them again "
            "with --retrain"
        )
    best = _best(by_method, recorded, reporter)
    return best[0], recorded[best[0].fingerprint]["run_id"]


def _best(
    by_method: Mapping[str, list[RunSpec]],
    recorded: Mapping[str, Mapping[str, Any]],
    reporter: Reporter,
) -> list[RunSpec]:
    """The runs of the best method, by what is recorded of most of them."""
    if len(by_method) == 1:
        return next(iter(by_method.values()))
    if AUTO in by_method:
        reporter.log("the candidate is auto, which weighs the other methods itself")
        return by_method[AUTO]
    for images, words in (("validation", "validation images"), ("held_out", "held-out shots")):
        column = f"{images}_accuracy"
        ranked = {
            name: measured
            for name, specs in by_method.items()
            if (measured := [s for s in specs if recorded[s.fingerprint][column] is not None])
        }
        if not ranked:
            continue
        if left_out := [name for name in by_method if name not in ranked]:
            reporter.log(
                f"the candidate is the best on {words}, on which {', '.join(left_out)} was not measured "
                "and takes no part: promote it alone, or give it another selection"
            )
        elif images == "held_out":
            reporter.log("the candidate is the best on held-out shots, as no image validates")
        return min(ranked.values(), key=lambda specs: _rank(specs, recorded, images))
    raise RunStoreError(
        f"neither validation images nor held-out shots say which of {', '.join(by_method)} is best, and "
        "test images may not: promote one of them (--methods), set images aside to validate, or hold "
        "shots out (--selection held-out-shots, with two shots or more)"
    )


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
        calibration=calibration_of(fitted, task, temperature=metadata.temperature),
    )


def _rank(
    specs: Sequence[RunSpec], recorded: Mapping[str, Mapping[str, Any]], images: str
) -> tuple[float, float]:
    rows = [recorded[spec.fingerprint] for spec in specs]
    accuracy, nll = (mean(row[f"{images}_{name}"] for row in rows) for name in ("accuracy", "nll"))
    return -accuracy, nll


def _recorded(
    root: Location, fingerprints: Sequence[str], *, dataset: str
) -> dict[str, dict[str, Any]]:
    """The completed runs by fingerprint, with their metrics on validation and on held-out shots."""
    asked = {"dataset": dataset, "fingerprints": list(fingerprints)}
    rows = query(root, _MEASURED, asked).to_pylist()
    return {row["fingerprint"]: row for row in rows}
