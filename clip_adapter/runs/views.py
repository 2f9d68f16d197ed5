"""The SQL views of a store.

The first ones show what is stored, each row once. They read `stored_<table>`, the rows of the files.
A row may be in two files (of two writers that did the same work, or that were just being compacted),
hence DISTINCT. Rows of a run whose own row is not stored yet do not count, hence SEMI JOIN. The
others answer questions about runs.
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
    hyperparameters, coalesce(image_choice, 'own') AS image_choice, selection, logit_bias,
    coalesce(protocol, 'all-classes') AS protocol, tested_on, class_prompts
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

# The order of the images, which differs between seeds, has no part in a sum. A split that is stored in
# k files has each of its rows k times. DISTINCT over all rows would take ten times as long.
_TRAINING_SETS = """
SELECT
    split_fingerprint, max(position + 1)::INTEGER AS n_images,
    (sum(hash(image_sha256)::HUGEINT) * max(position + 1) // count(*))::VARCHAR AS training_images
FROM stored_splits WHERE role = 'train' GROUP BY split_fingerprint
"""

# One index may be recorded under several names and sources; its images are shown once.
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


_TARGET = "coalesce(tested_on.dataset, dataset)"
"""Name of the dataset with the test images."""


def _latest_runs(condition: str) -> str:
    """The completed runs that are current, one for each configuration, seed and dataset with the test images.

    Of one dataset with the test images, a domain shift and a cross-dataset run do not stand beside each
    other: its class names have changed in between, and the last request knows them. Nor do runs on two
    states of it.

    For each dataset and encoder they are the runs of the state that was requested last and has
    runs; of several runs of one configuration and seed, the one that answers the latest request.
    Where no request is recorded, as in stores of earlier versions, the run that started last
    decides.
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
tested_states AS (
    SELECT dataset, encoder, {_TARGET} AS target,
        arg_max(tested_on.index_fingerprint, (coalesce(asked, 0), started_at)) AS tested_state
    FROM completed WHERE tested_on.index_fingerprint IS NOT NULL GROUP BY ALL
),
asked_names AS (
    SELECT dataset, encoder, arg_max(model, (sequence, request_id)) AS asked_name
    FROM requests WHERE model IS NOT NULL GROUP BY ALL
)
SELECT * EXCLUDE (named, asked_name, target, tested_state)
    REPLACE (coalesce(asked_name, model) AS model)
FROM (SELECT *, {_TARGET} AS target FROM completed)
SEMI JOIN latest USING (dataset, encoder, index_fingerprint)
LEFT JOIN asked_names USING (dataset, encoder)
LEFT JOIN tested_states USING (dataset, encoder, target)
WHERE tested_on.index_fingerprint IS NOT DISTINCT FROM tested_state
QUALIFY row_number() OVER (
    PARTITION BY dataset, encoder, study, protocol = 'base-to-new', target,
        method, settings_fingerprint, image_choice, shots, seed
    ORDER BY asked DESC NULLS LAST, named DESC NULLS LAST,
        CASE WHEN asked IS NULL THEN started_at END DESC, run_id
) = 1
"""


# Runs of a study vary what is constant on a leaderboard, and those of another protocol are tested on
# other classes or images.
_CURRENT_RUNS = _latest_runs("study IS NULL AND protocol = 'all-classes'")
_STUDY_RUNS = _latest_runs("study IS NOT NULL")
_PROTOCOL_RUNS = _latest_runs("study IS NULL AND protocol <> 'all-classes'")

_T_975 = [
    float(quantile)
    for quantile in [
        "12.7062047361747",
        "4.30265272974946",
        "3.18244630528371",
        "2.77644510519779",
        "2.57058183563631",
        "2.44691185114498",
        "2.36462425159278",
        "2.30600413520417",
        "2.2621571627982",
        "2.22813885198627",
        "2.20098516009164",
        "2.17881282966723",
        "2.16036865646279",
        "2.1447866879178",
        "2.13144954555978",
        "2.11990529922125",
        "2.10981557783332",
        "2.10092204024104",
        "2.09302405440831",
        "2.08596344726586",
        "2.07961384472768",
        "2.07387306790403",
        "2.06865761041905",
        "2.06389856162802",
        "2.0595385527533",
        "2.05552943864287",
        "2.05183051648028",
        "2.04840714179525",
        "2.0452296421327",
        "2.04227245630124",
        "2.03951344639641",
        "2.0369333434601",
        "2.03451529744934",
        "2.03224450931772",
        "2.03010792825034",
        "2.02809400098045",
        "2.02619246302911",
        "2.02439416391197",
        "2.02269092003676",
        "2.02107539030627",
        "2.01954097044138",
        "2.01808170281844",
        "2.01669219922782",
        "2.01536757444376",
        "2.01410338888085",
        "2.01289559891943",
        "2.01174051372977",
        "2.01063475762423",
        "2.00957523712924",
        "2.00855911210076",
        "2.00758377031584",
        "2.00664680506169",
        "2.00574599531787",
        "2.00487928818806",
        "2.00404478328915",
        "2.00324071884787",
        "2.00246545929101",
        "2.00171748414524",
        "2.00099537808827",
        "2.00029782201426",
    ]
]
"""The 97.5 % quantiles of Student's t distribution for 1 to 60 degrees of freedom, which DuckDB does
not have and SciPy takes 0.3 s to import for."""

_QUANTILES = ", ".join(
    f"({degrees}, {quantile!r}::DOUBLE)" for degrees, quantile in enumerate(_T_975, start=1)
)
_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


def _many_degrees(degrees: str) -> str:
    """The quantile in SQL for more than 60 degrees of freedom, to nine digits.

    The expansion is 26.7.5 of Abramowitz and Stegun, Handbook of Mathematical Functions (1964).
    """
    z = _Z
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    ]
    added = (f"{term!r}::DOUBLE / ({degrees}) ** {power}" for power, term in enumerate(terms, 1))
    return f"({z!r}::DOUBLE + {' + '.join(added)})"


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
        count(DISTINCT coalesce(training_images, run_id))::INTEGER AS draws,
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
        arg_max(hyperparameters, (started_at, run_id)) AS hyperparameters,
        image_choice
    FROM current_runs JOIN scores USING (run_id) LEFT JOIN training_sets USING (split_fingerprint)
    WHERE accuracy IS NOT NULL
    GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on
)
SELECT
    dataset, model, method, shots, seeds, accuracy_mean,
    CASE WHEN draws > 1 THEN
        coalesce(quantile, {_many_degrees("seeds - 1")}) * deviation / sqrt(seeds)
    END AS accuracy_ci95,
    accuracy_min, accuracy_max, nll_mean, selected_on, residual_ratio_median,
    seconds_train_mean, settings_fingerprint, last_run, encoder, hyperparameters, draws, image_choice
FROM summary LEFT JOIN student_t ON degrees = seeds - 1
ORDER BY dataset, model, shots, accuracy_mean DESC, method, settings_fingerprint, image_choice
"""

# The harmonic mean is that of the accuracies of each half among its own classes (Zhou et al. 2022,
# https://arxiv.org/abs/2203.05557, table 1); the mean over seeds is the mean of theirs.
_BASE_TO_NEW = """
WITH halves AS (
    SELECT
        run_id,
        max(value) FILTER (split = 'test-base') AS base,
        max(value) FILTER (split = 'test-new') AS new
    FROM metrics WHERE name = 'accuracy' GROUP BY run_id
)
SELECT
    dataset, model, method, shots, seed, base, new,
    CASE WHEN base + new > 0 THEN 2 * base * new / (base + new) ELSE 0.0 END AS harmonic_mean,
    settings_fingerprint, encoder, image_choice, run_id
FROM protocol_runs JOIN halves USING (run_id)
WHERE protocol = 'base-to-new' AND base IS NOT NULL AND new IS NOT NULL
ORDER BY dataset, model, shots, method, settings_fingerprint, image_choice, seed
"""

# Multiplied with a standard deviation over seeds, `factor` is the half-width of the 95 % interval, as on
# the leaderboard.
_INTERVALS = f"""
intervals AS (
    SELECT *, CASE WHEN draws > 1 THEN
        coalesce(quantile, {_many_degrees("seeds - 1")}) / sqrt(seeds)
    END AS factor
    FROM summary LEFT JOIN (FROM (VALUES {_QUANTILES}) AS t(degrees, quantile)) ON degrees = seeds - 1
)
"""

_BASE_TO_NEW_MEANS = f"""
WITH summary AS (
    SELECT
        dataset, any_value(model) AS model, method, shots, count(*)::INTEGER AS seeds,
        count(DISTINCT coalesce(training_images, run_id))::INTEGER AS draws,
        avg(base) AS base_mean, stddev_samp(base) AS base_deviation,
        avg(new) AS new_mean, stddev_samp(new) AS new_deviation,
        avg(harmonic_mean) AS harmonic_mean_mean, stddev_samp(harmonic_mean) AS deviation,
        settings_fingerprint, encoder, image_choice
    FROM base_to_new JOIN (SELECT run_id, split_fingerprint FROM runs) USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
    GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots
),
{_INTERVALS}
SELECT
    dataset, model, method, shots, seeds,
    base_mean, factor * base_deviation AS base_ci95,
    new_mean, factor * new_deviation AS new_ci95,
    harmonic_mean_mean, factor * deviation AS harmonic_mean_ci95,
    settings_fingerprint, encoder, image_choice, draws
FROM intervals
ORDER BY dataset, model, shots, harmonic_mean_mean DESC, method, settings_fingerprint, image_choice
"""

# The accuracy on the source is that of the run of the same training on its own test split.
_SHIFT = """
WITH scores AS (
    SELECT run_id, max(value) AS accuracy FROM metrics
    WHERE split = 'test' AND name = 'accuracy' GROUP BY run_id
),
sources AS (
    SELECT
        dataset, encoder, index_fingerprint, method, settings_fingerprint, split_fingerprint,
        image_choice, shots, seed, accuracy
    FROM current_runs JOIN scores USING (run_id)
)
SELECT
    tested.dataset AS source, tested.tested_on.dataset AS target, tested.protocol,
    tested.model, tested.method, tested.shots, tested.seed,
    sources.accuracy AS accuracy_source, scores.accuracy AS accuracy_target,
    tested.settings_fingerprint, tested.encoder, tested.image_choice, tested.run_id
FROM protocol_runs AS tested JOIN scores USING (run_id) LEFT JOIN sources
    ON sources.dataset = tested.dataset AND sources.encoder = tested.encoder
    AND sources.index_fingerprint = tested.index_fingerprint
    AND sources.method = tested.method
    AND sources.settings_fingerprint = tested.settings_fingerprint
    AND sources.split_fingerprint = tested.split_fingerprint
    AND sources.image_choice = tested.image_choice
    AND sources.shots = tested.shots AND sources.seed IS NOT DISTINCT FROM tested.seed
WHERE tested.protocol IN ('domain-shift', 'cross-dataset')
ORDER BY source, target, model, shots, method, settings_fingerprint, image_choice, seed
"""

# Both means are over the same seeds: a seed without a run on the own test split counts where none has one.
_SHIFT_MEANS = f"""
WITH paired AS (
    FROM shift QUALIFY accuracy_source IS NOT NULL OR count(accuracy_source) OVER (
        PARTITION BY source, target, protocol, encoder, method, settings_fingerprint, image_choice, shots
    ) = 0
),
summary AS (
    SELECT
        source, target, protocol, any_value(model) AS model, method, shots,
        count(*)::INTEGER AS seeds,
        count(DISTINCT coalesce(training_images, run_id))::INTEGER AS draws,
        avg(accuracy_source) AS accuracy_source_mean, stddev_samp(accuracy_source) AS source_deviation,
        avg(accuracy_target) AS accuracy_target_mean, stddev_samp(accuracy_target) AS target_deviation,
        settings_fingerprint, encoder, image_choice
    FROM paired JOIN (SELECT run_id, split_fingerprint FROM runs) USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
    GROUP BY source, target, protocol, encoder, method, settings_fingerprint, image_choice, shots
),
{_INTERVALS}
SELECT
    source, target, protocol, model, method, shots, seeds,
    accuracy_source_mean, factor * source_deviation AS accuracy_source_ci95,
    accuracy_target_mean, factor * target_deviation AS accuracy_target_ci95,
    settings_fingerprint, encoder, image_choice, draws
FROM intervals
ORDER BY source, model, target, shots, method, settings_fingerprint, image_choice
"""

# Class numbers count from 0, DuckDB's lists from 1.
_CONFUSION = """
SELECT
    dataset, model, method, shots, label, predicted,
    class_names[label + 1] AS class_name, class_names[predicted + 1] AS predicted_name,
    count(*)::INTEGER AS n, settings_fingerprint, encoder, image_choice
FROM current_runs JOIN predictions USING (run_id)
GROUP BY ALL
ORDER BY dataset, model, method, shots, label, predicted
"""

# Both sums run over `confusion`, so that a class which is never predicted has no precision.
_PER_CLASS = """
WITH by_label AS (
    SELECT
        dataset, model, method, shots, settings_fingerprint, encoder, image_choice, class_name, label,
        sum(n) AS n, coalesce(sum(n) FILTER (label = predicted), 0) AS hits
    FROM confusion GROUP BY ALL
),
by_prediction AS (
    SELECT
        dataset, model, method, shots, settings_fingerprint, encoder, image_choice,
        predicted AS label, sum(n) AS n_predicted
    FROM confusion GROUP BY ALL
)
SELECT
    dataset, model, method, shots, class_name, n::INTEGER AS n,
    (hits / n)::DOUBLE AS recall,
    (hits / n_predicted)::DOUBLE AS precision,
    (2 * hits / (n + coalesce(n_predicted, 0)))::DOUBLE AS f1,
    settings_fingerprint, encoder, image_choice
FROM by_label LEFT JOIN by_prediction
    USING (dataset, model, method, shots, settings_fingerprint, encoder, image_choice, label)
ORDER BY dataset, model, method, shots, settings_fingerprint, image_choice, label
"""

# Runs compare when they saw the same images of a dataset through the same encoder at the same shots and seed;
# methods that learn from no image (0 shots) take part in every such comparison.
_DISAGREEMENTS = """
WITH choices AS (
    SELECT DISTINCT dataset, encoder, shots, seed, image_choice FROM current_runs WHERE shots > 0
),
comparable AS (
    SELECT
        choices.shots, choices.seed, choices.image_choice,
        current_runs.* EXCLUDE (dataset, encoder, shots, seed, image_choice), dataset, encoder
    FROM choices JOIN current_runs USING (dataset, encoder)
    WHERE current_runs.shots = 0
        OR (current_runs.shots = choices.shots
            AND current_runs.image_choice = choices.image_choice
            AND current_runs.seed IS NOT DISTINCT FROM choices.seed)
),
predicted_images AS (SELECT * FROM comparable JOIN predictions USING (run_id)),
differing AS (
    SELECT dataset, encoder, shots, seed, image_choice, image_sha256
    FROM predicted_images GROUP BY ALL HAVING min(predicted) <> max(predicted)
),
places AS (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
)
SELECT DISTINCT
    a.dataset, a.model, a.shots, a.seed, a.image_sha256, places.path,
    a.label, a.class_names[a.label + 1] AS class_name, a.method,
    a.predicted, a.class_names[a.predicted + 1] AS predicted_name, a.correct,
    a.confidence, a.run_id, a.image_choice
FROM predicted_images AS a
JOIN differing AS d
    ON a.dataset = d.dataset AND a.encoder = d.encoder AND a.shots = d.shots
    AND a.image_choice = d.image_choice AND a.seed IS NOT DISTINCT FROM d.seed AND a.image_sha256 = d.image_sha256
LEFT JOIN places
    ON places.index_fingerprint = a.index_fingerprint AND places.image_sha256 = a.image_sha256
ORDER BY ALL
"""

VIEWS = {
    "requests": _REQUESTS,
    "runs": _RUNS,
    "asked_runs": _ASKED_RUNS,
    "metrics": _METRICS,
    "curves": _CURVES,
    "predictions": _PREDICTIONS,
    "splits": _SPLITS,
    "training_sets": _TRAINING_SETS,
    "images": _IMAGES,
    "quarantine": _QUARANTINE,
    "excluded": _EXCLUDED,
    "extractions": _EXTRACTIONS,
    "promotions": _PROMOTIONS,
    "champion": _CHAMPION,
    "current_runs": _CURRENT_RUNS,
    "study_runs": _STUDY_RUNS,
    "protocol_runs": _PROTOCOL_RUNS,
    "leaderboard": _LEADERBOARD,
    "base_to_new": _BASE_TO_NEW,
    "base_to_new_means": _BASE_TO_NEW_MEANS,
    "shift": _SHIFT,
    "shift_means": _SHIFT_MEANS,
    "confusion": _CONFUSION,
    "per_class": _PER_CLASS,
    "disagreements": _DISAGREEMENTS,
}
"""The SQL of every view by its name, in an order in which they can be made.

- `requests`: requests, numbered by dataset; which runs are current follows from them.
- `runs`: one row an execution, failed ones too; settings as columns, and all of them as JSON in
  `hyperparameters`; `class_prompts` are null where `templates` are all prompts; `method` ends in
  "(oracle)" where the test split chose a setting.
- `asked_runs`: the last request that each run answers, and the last that names it by its id.
- `metrics`, `curves`, `predictions`, `splits`: results and images of those runs; digests in hex;
  predictions on the test split only.
- `training_sets`: the number of images that each split trains on, and a digest over them: splits of
  equal digests train on the same images.
- `images`, `quarantine`, `excluded`: the dataset indexes, the files that could not be read, and
  those that were left out.
- `extractions`: how many images were encoded when, by which encoder, and in how many seconds.
- `current_runs`: the current runs, one for each configuration and seed: those of the state that
  was requested last; `asked` is the number of the last request that a run answers.
- `study_runs`: the current runs of studies, which are in no other view but `runs`.
- `protocol_runs`: the current runs that were trained on half of the classes, or tested on another
  dataset; they are in no other view but `runs`, `base_to_new` and `shift`.
- `leaderboard`: mean accuracy over seeds of runs of one image choice, a fraction, with the half-width of its 95 % interval
  (null for a single seed, and where all seeds train on the same images: `draws` counts the different
  sets of training images); `hyperparameters` are those of the last run.
- `base_to_new`: accuracy on images of base classes and of new ones, each among its own classes, and their
  harmonic mean; `base_to_new_means`: the means over seeds with intervals, as on the leaderboard.
- `shift`: accuracy on the test split of another dataset beside that on the classifier's own;
  `shift_means`: the means of both over the seeds that have both, with intervals, as on the leaderboard.
- `confusion`: counts of each class and predicted class, over all seeds.
- `per_class`: recall, precision (null where a class is never predicted) and F1 of each class; `n`
  counts its test images once for each seed.
- `disagreements`: the images on which methods differ at the same shots and seed.
- `promotions`: every decision on a dataset's champion, with its numbers.
- `champion`: the last decision that set a champion; SQL reads no files of classifiers, so that
  one whose file is damaged is included.
"""

FEATURES_OF = "features_"
"""Beginning of the name of a stored table with the features of one encoder."""

MACROS = {
    "similar_images": f"""
(digest, encoder, top := 20) AS TABLE
WITH asked AS (
    SELECT coalesce(any_value(feature)::DOUBLE[], error(
        'no image of the digest ' || digest || ' has a feature of this encoder: expected an '
        'image_sha256 of the view images, of an encoded dataset'
    )) AS query
    FROM query_table('stored_{FEATURES_OF}' || encoder) WHERE image_sha256 = unhex(digest)
)
SELECT
    lower(hex(image_sha256)) AS image_sha256,
    max(list_cosine_similarity(feature::DOUBLE[], query)) AS cosine
FROM query_table('stored_{FEATURES_OF}' || encoder), asked
GROUP BY ALL HAVING isfinite(cosine)
ORDER BY cosine DESC, image_sha256 LIMIT top
"""
}
"""The parameters and the SQL of every table macro by its name.

- `similar_images(digest, encoder, top := 20)`: the images with the largest cosine with an image,
  itself included, by stored features; the digest and the fingerprint of the encoder are in hex. Equal
  cosines are in the order of the digests. A digest without a feature is an error. Files of features
  are read by a statement that uses it, and by no other.
"""
