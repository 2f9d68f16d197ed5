"""The views that show what is stored, each row once, in plain SQL.

They stand on `stored_<table>`, the rows as they lie in the files. A row may lie there twice (two
writers that did the same work, or files that were just being compacted), hence the DISTINCT; and
rows of a run whose own row is not there yet do not count, hence the SEMI JOIN.
"""

_RUNS = """
SELECT DISTINCT
    run_id, started_at, status, dataset, model,
    CASE selected_on WHEN 'test (oracle)' THEN method || ' (oracle)' ELSE method END AS method,
    shots, seed,
    settings.residual_ratio, settings.reduction, settings.output_activation, settings.epochs,
    settings.learning_rate, settings.batch_size, settings.weight_decay, settings.optimizer,
    settings.* EXCLUDE (
        residual_ratio, reduction, output_activation, epochs, learning_rate, batch_size,
        weight_decay, optimizer
    ),
    selected_on,
    coalesce(tried, list_transform(candidates, lambda one: {
        'settings': MAP {one.name: one.value},
        'validation_accuracy': one.validation_accuracy,
        'validation_nll': one.validation_nll
    })) AS candidates,
    study, error,
    seconds_encode, seconds_train, peak_memory_bytes,
    n_train, n_validation, n_test, n_leaked,
    class_names, templates, encoder, logit_scale, device, precision,
    fingerprint, settings_fingerprint, index_fingerprint, split_fingerprint, sweep_id,
    versions, git_commit,
    hyperparameters, image_choice, selection, logit_bias,
    coalesce(protocol, 'all-classes') AS protocol, tested_on
FROM stored_runs
"""

_METRICS = "SELECT DISTINCT * FROM stored_metrics SEMI JOIN stored_runs USING (run_id)"

_CURVES = "SELECT DISTINCT * FROM stored_curves SEMI JOIN stored_runs USING (run_id)"

_PREDICTIONS = """
SELECT DISTINCT
    run_id, position, lower(hex(image_sha256)) AS image_sha256,
    label, predicted, label = predicted AS correct, confidence, margin, label_probability
FROM stored_predictions SEMI JOIN stored_runs USING (run_id)
WHERE coalesce(split, 'test') = 'test'
"""

_SPLITS = """
SELECT DISTINCT * REPLACE (lower(hex(image_sha256)) AS image_sha256)
FROM stored_splits SEMI JOIN stored_runs USING (split_fingerprint)
"""

# One index may be recorded under several names and sources, and has its images once all the same.
_IMAGES = """
SELECT * REPLACE (lower(hex(image_sha256)) AS image_sha256) FROM stored_images
QUALIFY row_number() OVER (
    PARTITION BY dataset, index_fingerprint, "row" ORDER BY name, source, path
) = 1
"""

_QUARANTINE = "SELECT DISTINCT * FROM stored_quarantine"

_EXCLUDED = "SELECT DISTINCT * FROM stored_excluded"

_EXTRACTIONS = "SELECT DISTINCT * FROM stored_extractions ORDER BY started_at"

_REQUESTS = """
SELECT DISTINCT * FROM stored_requests ORDER BY dataset, sequence, request_id
"""

# Of two runs with one fingerprint that a request asks for, the one that was named last counts.
_ASKED_RUNS = """
SELECT run_id, max(sequence) AS asked, max(sequence) FILTER (is_named) AS named
FROM (
    SELECT unnest(run_ids) AS run_id, sequence, true AS is_named FROM requests
    UNION ALL
    SELECT run_id, sequence, false FROM stored_runs JOIN (
        SELECT dataset, unnest(run_fingerprints) AS fingerprint, sequence FROM requests
    ) USING (dataset, fingerprint)
)
GROUP BY run_id
"""

_PROMOTIONS = """
SELECT DISTINCT * FROM stored_promotions ORDER BY dataset, sequence, decided_at, promotion_id
"""

_CHAMPION = """
SELECT * FROM promotions WHERE decision <> 'refused'
QUALIFY row_number() OVER (
    PARTITION BY dataset ORDER BY sequence DESC, decided_at DESC, promotion_id DESC
) = 1
ORDER BY dataset
"""

TABLE_VIEWS = {
    "requests": _REQUESTS,
    "runs": _RUNS,
    "asked_runs": _ASKED_RUNS,
    "metrics": _METRICS,
    "curves": _CURVES,
    "predictions": _PREDICTIONS,
    "splits": _SPLITS,
    "images": _IMAGES,
    "quarantine": _QUARANTINE,
    "excluded": _EXCLUDED,
    "extractions": _EXTRACTIONS,
    "promotions": _PROMOTIONS,
    "champion": _CHAMPION,
}
"""The SQL of each of these views by its name, in an order in which they can be made."""
