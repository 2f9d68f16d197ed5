"""The views that answer questions about runs, in plain SQL; they stand on `table_views.py`."""

from clip_adapter.runs.t_quantiles import T_975
from clip_adapter.runs.table_views import TABLE_VIEWS

_MOST_DEGREES = len(T_975)
"""Beyond so many seeds the interval is that of 201 seeds: too wide by less than 1 %."""

_QUANTILES = ", ".join(
    f"({degrees}, {quantile!r}::DOUBLE)" for degrees, quantile in enumerate(T_975, start=1)
)


def _latest_runs(condition: str) -> str:
    """The completed runs that count, one a configuration and seed.

    A dataset counts, for each encoder, in the state that was last asked for and has runs; of
    several runs of one configuration and seed the one that answers the latest request. Where
    nothing was asked, as in stores of before requests, the run that started last decides.
    """
    return f"""
WITH completed AS (
    FROM runs LEFT JOIN asked_runs USING (run_id) WHERE status = 'completed' AND {condition}
),
asked_states AS (
    SELECT dataset, encoder, index_fingerprint, max((sequence, request_id)) AS last_request
    FROM requests GROUP BY ALL
),
latest AS (
    SELECT dataset, encoder, coalesce(
        arg_max(index_fingerprint, last_request) FILTER (last_request IS NOT NULL),
        arg_max(index_fingerprint, (started_at, index_fingerprint))
    ) AS index_fingerprint
    FROM completed LEFT JOIN asked_states USING (dataset, encoder, index_fingerprint)
    GROUP BY dataset, encoder
),
asked_names AS (
    SELECT dataset, encoder, arg_max(model, (sequence, request_id)) AS asked_name
    FROM requests WHERE model IS NOT NULL GROUP BY ALL
)
SELECT * EXCLUDE (named, asked_name) REPLACE (coalesce(asked_name, model) AS model)
FROM completed SEMI JOIN latest USING (dataset, encoder, index_fingerprint)
LEFT JOIN asked_names USING (dataset, encoder)
QUALIFY row_number() OVER (
    PARTITION BY dataset, encoder, study, method, settings_fingerprint, shots, seed
    ORDER BY asked DESC NULLS LAST, named DESC NULLS LAST,
        CASE WHEN asked IS NULL THEN started_at END DESC, run_id
) = 1
"""


# Runs of a study vary what a leaderboard must hold still.
_CURRENT_RUNS = _latest_runs("study IS NULL")
_STUDY_RUNS = _latest_runs("study IS NOT NULL")

# The half-width of the 95 % interval is t(0.975, seeds - 1) * standard deviation / sqrt(seeds).
_LEADERBOARD = f"""
WITH student_t AS (FROM (VALUES {_QUANTILES}) AS t(degrees, quantile)),
scores AS (
    SELECT
        run_id,
        max(value) FILTER (name = 'accuracy') AS accuracy,
        max(value) FILTER (name = 'nll') AS nll
    FROM metrics WHERE split = 'test' GROUP BY run_id
),
summary AS (
    SELECT
        dataset, arg_max(model, (started_at, run_id)) AS model, method, shots,
        count(*)::INTEGER AS seeds,
        avg(accuracy) AS accuracy_mean,
        stddev_samp(accuracy) AS deviation,
        min(accuracy) AS accuracy_min,
        max(accuracy) AS accuracy_max,
        avg(nll) AS nll_mean,
        selected_on,
        median(residual_ratio) AS residual_ratio_median,
        avg(seconds_train) AS seconds_train_mean,
        settings_fingerprint,
        max(started_at) AS last_run,
        encoder,
        arg_max(hyperparameters, (started_at, run_id)) AS hyperparameters
    FROM current_runs JOIN scores USING (run_id)
    WHERE accuracy IS NOT NULL
    GROUP BY dataset, encoder, method, settings_fingerprint, shots, selected_on
)
SELECT
    dataset, model, method, shots, seeds, accuracy_mean,
    quantile * deviation / sqrt(seeds) AS accuracy_ci95,
    accuracy_min, accuracy_max, nll_mean, selected_on, residual_ratio_median,
    seconds_train_mean, settings_fingerprint, last_run, encoder, hyperparameters
FROM summary LEFT JOIN student_t ON degrees = least(seeds - 1, {_MOST_DEGREES})
ORDER BY dataset, model, shots, accuracy_mean DESC, method, settings_fingerprint
"""

# Class numbers count from 0, DuckDB's lists from 1.
_CONFUSION = """
SELECT
    dataset, model, method, shots, label, predicted,
    class_names[label + 1] AS class_name, class_names[predicted + 1] AS predicted_name,
    count(*)::INTEGER AS n, settings_fingerprint, encoder
FROM current_runs JOIN predictions USING (run_id)
GROUP BY ALL
ORDER BY dataset, model, method, shots, label, predicted
"""

# Both sums run over `confusion`, so that a class which is never predicted has no precision.
_PER_CLASS = """
WITH recalled AS (
    SELECT
        dataset, model, method, shots, settings_fingerprint, encoder, class_name, label,
        sum(n) AS n, coalesce(sum(n) FILTER (label = predicted), 0) AS hits
    FROM confusion GROUP BY ALL
),
answered AS (
    SELECT
        dataset, model, method, shots, settings_fingerprint, encoder, predicted AS label,
        sum(n) AS answers
    FROM confusion GROUP BY ALL
)
SELECT
    dataset, model, method, shots, class_name, n::INTEGER AS n,
    (hits / n)::DOUBLE AS recall,
    (hits / answers)::DOUBLE AS precision,
    (2 * hits / (n + coalesce(answers, 0)))::DOUBLE AS f1,
    settings_fingerprint, encoder
FROM recalled LEFT JOIN answered
    USING (dataset, model, method, shots, settings_fingerprint, encoder, label)
ORDER BY dataset, model, method, shots, settings_fingerprint, label
"""

# Runs compare when they saw the same dataset through the same encoder at the same shots and seed;
# methods that learn from no image (0 shots) take part in every such comparison.
_DISAGREEMENTS = """
WITH contests AS (
    SELECT DISTINCT dataset, encoder, shots, seed FROM current_runs WHERE shots > 0
),
contestants AS (
    SELECT contests.shots, contests.seed, current_runs.* EXCLUDE (shots, seed)
    FROM contests JOIN current_runs USING (dataset, encoder)
    WHERE current_runs.shots = 0
        OR (current_runs.shots = contests.shots
            AND current_runs.seed IS NOT DISTINCT FROM contests.seed)
),
answers AS (SELECT * FROM contestants JOIN predictions USING (run_id)),
disputed AS (
    SELECT dataset, encoder, shots, seed, image_sha256
    FROM answers GROUP BY ALL HAVING min(predicted) <> max(predicted)
),
places AS (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
)
SELECT DISTINCT
    a.dataset, a.model, a.shots, a.seed, a.image_sha256, places.path,
    a.label, a.class_names[a.label + 1] AS class_name, a.method,
    a.predicted, a.class_names[a.predicted + 1] AS predicted_name, a.correct,
    a.confidence, a.run_id
FROM answers AS a
JOIN disputed AS d
    ON a.dataset = d.dataset AND a.encoder = d.encoder AND a.shots = d.shots
    AND a.seed IS NOT DISTINCT FROM d.seed AND a.image_sha256 = d.image_sha256
LEFT JOIN places
    ON places.index_fingerprint = a.index_fingerprint AND places.image_sha256 = a.image_sha256
ORDER BY ALL
"""

VIEWS = {
    **TABLE_VIEWS,
    "current_runs": _CURRENT_RUNS,
    "study_runs": _STUDY_RUNS,
    "leaderboard": _LEADERBOARD,
    "confusion": _CONFUSION,
    "per_class": _PER_CLASS,
    "disagreements": _DISAGREEMENTS,
}
"""The SQL of every view by its name, in an order in which they can be made.

- `requests`: what was asked for, numbered by dataset; what is current follows from it.
- `runs`: one row an execution, failed ones too; settings as columns, and all of them as JSON in
  `hyperparameters`; `method` says "(oracle)" where the test split chose a setting.
- `asked_runs`: the last request that each run answers, and the last that names it by its id.
- `metrics`, `curves`, `predictions`, `splits`: what belongs to those runs; digests in hex;
  predictions of the test split alone.
- `images`, `quarantine`, `excluded`: the dataset indexes, the files that could not be read, and
  those that were left out.
- `extractions`: how many images were encoded when, by which encoder, and in how many seconds.
- `current_runs`: the completed runs that count, one of each configuration and seed: those of the
  state that was last asked for; `asked` is the number of the last request that a run answers.
- `study_runs`: the same of the runs that were made for a study; no other view knows them.
- `leaderboard`: mean accuracy over seeds, a fraction, with the half-width of its 95 % interval
  (null for a single seed); `hyperparameters` are those of the last run.
- `confusion`: how often each class was taken for which, over all seeds.
- `per_class`: recall, precision (null where a class is never predicted) and F1 of each class; `n`
  counts its test images once a seed.
- `disagreements`: the images on which methods differ at the same shots and seed.
- `promotions`: every decision on a dataset's champion, with its numbers.
- `champion`: the last of them that made one; SQL reads no classifier, so that one whose file is
  damaged is here as well.
"""
