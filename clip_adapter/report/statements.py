"""The SQL of a report. Each block shows the statement that its rows come from, and it can be asked again."""

import re

_PLACE = re.compile(r"\{(\w+)\}")

_DIFFERENCE = """
SELECT
    method_{one} AS method, settings_fingerprint_{one} AS settings_fingerprint,
    image_choice_{one} AS image_choice, dataset, encoder, shots, difference, low, high, p_value,
    seed_differences, same_training_images, n_images, wins, losses, accuracy_a, accuracy_b"""

_STATEMENTS = {
    # What the report says of each dataset and encoder with runs.
    "about": """
SELECT
    dataset, encoder, arg_max(model, (coalesce(asked, 0), started_at, run_id)) AS model,
    any_value(precision) AS precision, count(*)::INTEGER AS n_runs,
    (count(*) FILTER (part = 'study'))::INTEGER AS n_study,
    list(DISTINCT n_test ORDER BY n_test) AS n_test, max(n_leaked) AS n_leaked,
    len(arg_max(class_names, (coalesce(asked, 0), started_at, run_id))) AS n_classes,
    arg_max(index_fingerprint, (coalesce(asked, 0), started_at, run_id)) AS index_fingerprint,
    arg_max(templates, (coalesce(asked, 0), started_at, run_id)) AS templates,
    list(DISTINCT seed ORDER BY seed) FILTER (seed IS NOT NULL) AS seeds,
    list(DISTINCT recipe ORDER BY recipe) FILTER (part = 'leaderboard' AND recipe IS NOT NULL) AS recipes,
    min(started_at)::DATE::VARCHAR AS first_day, max(started_at)::DATE::VARCHAR AS last_day,
    list(DISTINCT coalesce(git_commit[:10], 'no commit') ORDER BY 1) AS commits,
    list(DISTINCT device ORDER BY device) AS devices,
    arg_max(versions, (coalesce(asked, 0), started_at, run_id)) AS versions,
    coalesce(bool_or(contains(selected_on, 'oracle')), false) AS has_oracle,
    max({
        'asked': coalesce(asked, 0), 'started': CASE WHEN asked IS NULL THEN epoch(started_at) ELSE 0 END,
        'run_id': run_id
    }) AS recency,
    sum(seconds_train ORDER BY run_id) AS seconds_train, max(peak_memory_bytes) AS peak_memory_bytes
FROM (
    SELECT *, 'leaderboard' AS part FROM current_runs
    UNION ALL BY NAME SELECT *, 'study' AS part FROM study_runs
    UNION ALL BY NAME SELECT *, 'protocol' AS part FROM protocol_runs WHERE protocol = 'base-to-new'
)
WHERE {here} AND status = 'completed' GROUP BY dataset, encoder ORDER BY dataset, model, encoder""",
    "failures": """
WITH asked AS (FROM runs LEFT JOIN asked_runs USING (run_id))
SELECT dataset, encoder, method, count(*)::INTEGER AS n_runs,
    arg_max(error, (coalesce(asked, 0), started_at, run_id)) AS error
FROM asked AS failed WHERE {here} AND status = 'failed' AND NOT EXISTS (
    FROM asked AS made
    WHERE made.status = 'completed'
        AND CASE WHEN made.asked <> failed.asked THEN made.asked > failed.asked
            ELSE made.started_at >= failed.started_at END
        AND made.dataset = failed.dataset AND made.encoder = failed.encoder
        AND made.method = failed.method
        AND made.settings_fingerprint = failed.settings_fingerprint AND made.shots = failed.shots
        AND made.seed IS NOT DISTINCT FROM failed.seed
        AND made.image_choice = failed.image_choice AND made.protocol = failed.protocol
        AND made.tested_on IS NOT DISTINCT FROM failed.tested_on
        AND made.study IS NOT DISTINCT FROM failed.study
)
GROUP BY dataset, encoder, method ORDER BY dataset, encoder, method""",
    "accuracy": """
SELECT
    dataset, encoder, model, method, shots, seeds, draws, accuracy_mean, accuracy_ci95, accuracy_min,
    accuracy_max, selected_on, seconds_train_mean, settings_fingerprint, image_choice,
    last_run::VARCHAR AS last_run
FROM leaderboard WHERE {here}
ORDER BY dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on""",
    # What the leaderboard does not have: calibration, seeds and test images.
    "cells": """
SELECT
    dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on,
    max({
        'asked': coalesce(asked, 0), 'started': CASE WHEN asked IS NULL THEN epoch(started_at) ELSE 0 END,
        'run_id': run_id
    }) AS recency,
    list(seed ORDER BY seed) FILTER (seed IS NOT NULL) AS seed_list,
    list(DISTINCT n_test ORDER BY n_test) AS n_test, max(n_leaked) AS n_leaked,
    avg(ece ORDER BY run_id) AS ece_mean, avg(ece_calibrated ORDER BY run_id) AS ece_calibrated_mean,
    avg(temperature ORDER BY run_id) AS temperature_mean,
    list(DISTINCT CASE WHEN n_validation > 0 THEN 'validation' ELSE 'held-out shots' END ORDER BY 1)
        FILTER (temperature IS NOT NULL) AS temperature_fitted_on
FROM current_runs LEFT JOIN (
    SELECT
        run_id, max(value) FILTER (name = 'ece') AS ece,
        max(value) FILTER (name = 'ece_calibrated') AS ece_calibrated,
        max(value) FILTER (name = 'temperature') AS temperature
    FROM metrics WHERE split = 'test' GROUP BY run_id
) USING (run_id)
WHERE {here} GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on
ORDER BY dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on""",
    # Settings of which a grid was tried, and those that differ between seeds, in the order of seeds.
    "choices": """
WITH used AS (
    SELECT
        dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on, seed, run_id,
        unnest(map_keys(hyperparameters)) AS hyperparameter,
        unnest(map_values(hyperparameters)) AS value,
        coalesce(map_keys(candidates[1].settings), []) AS chosen_names
    FROM current_runs WHERE {here}
)
SELECT
    dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on, hyperparameter,
    list(value ORDER BY seed, run_id) AS chosen
FROM used
GROUP BY
    dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on, hyperparameter
QUALIFY bool_or(
    bool_or(list_contains(chosen_names, hyperparameter))
    OR (count(DISTINCT value) > 1 AND NOT bool_or(value[1] IN ('[', chr(123))))
) OVER (PARTITION BY dataset, encoder, method, settings_fingerprint, image_choice, hyperparameter)
ORDER BY
    dataset, encoder, method, settings_fingerprint, image_choice, hyperparameter, shots, selected_on""",
    "comparisons": f"""{_DIFFERENCE.format(one="b")}
FROM paired
WHERE {{here}} AND method_a = {{method}} AND settings_fingerprint_a = {{settings}} AND image_choice_a = {{choice}}
ORDER BY method, settings_fingerprint, image_choice, shots""",
    "comparisons-at": f"""{_DIFFERENCE.format(one="b")}
FROM paired
WHERE {{here}} AND method_a = {{method}} AND settings_fingerprint_a = {{settings}} AND image_choice_a = {{choice}}
    AND shots = {{shots}}
ORDER BY method, settings_fingerprint, image_choice, shots""",
    "against-zero-shot": f"""{_DIFFERENCE.format(one="a")}
FROM paired
WHERE {{here}} AND method_b = {{method}} AND settings_fingerprint_b = {{settings}} AND image_choice_b = {{choice}}
ORDER BY method, settings_fingerprint, image_choice, shots""",
    "per-class": """
SELECT
    class_name, zero_shot.recall AS recall_zero_shot, adapted.recall AS recall_adapted,
    adapted.recall - zero_shot.recall AS change, adapted.precision, adapted.n
FROM per_class AS adapted JOIN per_class AS zero_shot USING (dataset, encoder, class_name)
WHERE adapted.dataset = {dataset} AND adapted.encoder = {encoder}
    AND adapted.method = {method} AND adapted.settings_fingerprint = {settings}
    AND adapted.image_choice = {choice} AND adapted.shots = {shots}
    AND zero_shot.method = {baseline} AND zero_shot.settings_fingerprint = {baseline_settings}
    AND zero_shot.image_choice = {baseline_choice} AND zero_shot.shots = 0
ORDER BY change, class_name""",
    "confusion": """
SELECT
    class_name, predicted_name, n::BIGINT AS n,
    n / sum(n) OVER (PARTITION BY class_name) AS share
FROM confusion
WHERE {here} AND method = {method} AND settings_fingerprint = {settings} AND image_choice = {choice}
    AND shots = {shots}
ORDER BY class_name = predicted_name, share DESC, class_name, predicted_name""",
    "reliability": """
WITH run AS (
    SELECT run_id FROM current_runs
    WHERE {here} AND method = {method} AND settings_fingerprint = {settings} AND image_choice = {choice}
        AND shots = {shots}
),
bins AS (
    SELECT
        'before' AS temperature, least(floor(confidence * 10), 9)::INTEGER AS bin, count(*) AS n,
        sum(confidence) AS sum_confidence, count(*) FILTER (correct) AS n_correct
    FROM run JOIN predictions USING (run_id) GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        'after' AS temperature, step AS bin, sum(n) AS n, sum(n * confidence) AS sum_confidence,
        sum(n * accuracy) AS n_correct
    FROM run JOIN (
        SELECT
            run_id, step,
            max(value) FILTER (name = 'calibrated_count') AS n,
            max(value) FILTER (name = 'calibrated_confidence') AS confidence,
            max(value) FILTER (name = 'calibrated_accuracy') AS accuracy
        FROM curves GROUP BY ALL
    ) USING (run_id)
    WHERE n > 0 GROUP BY ALL
)
SELECT
    temperature, bin, n::BIGINT AS n, sum_confidence / n AS confidence, n_correct / n AS accuracy
FROM bins ORDER BY temperature DESC, bin""",
    "mistakes": """
SELECT
    path, class_names[label + 1] AS class_name, mode(class_names[predicted + 1] ORDER BY class_names[predicted + 1]) AS predicted_name,
    avg(confidence ORDER BY run_id) AS confidence,
    avg(label_probability ORDER BY run_id) AS label_probability, count(*)::INTEGER AS n_runs, image_sha256
FROM predictions
JOIN current_runs USING (run_id)
LEFT JOIN (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
) USING (index_fingerprint, image_sha256)
WHERE {here} AND method = {method} AND settings_fingerprint = {settings} AND image_choice = {choice}
    AND shots = {shots}
GROUP BY path, class_name, image_sha256
HAVING NOT bool_or(correct)
ORDER BY confidence DESC, image_sha256
LIMIT {top}""",
    "suspects": """
WITH classified AS (
    SELECT run_id, image_sha256, label, predicted, correct, label_probability, 'test' AS split FROM predictions
    UNION ALL BY NAME
    SELECT run_id, image_sha256, label, predicted, correct, label_probability, split FROM selection_predictions
)
SELECT
    path, split, class_names[label + 1] AS class_name, mode(class_names[predicted + 1] ORDER BY class_names[predicted + 1]) AS predicted_name,
    avg(label_probability ORDER BY run_id) AS label_probability, count(DISTINCT method)::INTEGER AS n_methods,
    count(*)::INTEGER AS n_runs, image_sha256
FROM classified
JOIN current_runs USING (run_id)
LEFT JOIN (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
) USING (index_fingerprint, image_sha256)
WHERE {here} AND shots IN (0, {shots})
GROUP BY path, split, class_name, image_sha256
HAVING NOT bool_or(correct) AND count(DISTINCT method) > 1
ORDER BY n_methods DESC, label_probability NULLS LAST, n_runs DESC, image_sha256, split
LIMIT {top}""",
    "champions": """
SELECT
    sequence, decided_at, decision, method, shots, seed, accuracy_challenger, accuracy_champion, low, high,
    p_value, n_images, reason
FROM promotions WHERE dataset = {dataset} ORDER BY sequence DESC, decided_at DESC, promotion_id DESC""",
    "champion": """
SELECT
    dataset, decided_at, method, shots, seed, accuracy_challenger, accuracy_champion, low, high, p_value,
    n_images, encoder, settings_fingerprint, run_id, champion_before, decision, restores
FROM champion ORDER BY dataset""",
    "data": """
SELECT 'images of ' || coalesce(nullif(split, ''), 'no split') AS what, count(*) AS n, min(path) AS example
FROM images WHERE dataset = {dataset} AND index_fingerprint = {index} GROUP BY split
UNION ALL
SELECT 'not used: ' || reason, count(*), min(path)
FROM excluded WHERE dataset = {dataset} AND index_fingerprint = {index} GROUP BY reason
UNION ALL
SELECT 'quarantined: ' || reason, count(*), min(path)
FROM quarantine WHERE dataset = {dataset} AND index_fingerprint = {index} GROUP BY reason
UNION ALL
SELECT 'copies within a split', sum(n_copies), min(path) FROM (
    SELECT count(*) - 1 AS n_copies, min(path) AS path
    FROM images WHERE dataset = {dataset} AND index_fingerprint = {index}
    GROUP BY image_sha256, split HAVING count(*) > 1
) HAVING count(*) > 0
UNION ALL
SELECT 'test images that are elsewhere too', count(*), min(path)
FROM leaks WHERE dataset = {dataset} AND split = 'test' HAVING count(*) > 0""",
    "champion-settings": """
SELECT method, settings_fingerprint, image_choice, shots FROM current_runs WHERE {here} AND run_id = {run}""",
    "study": """
SELECT study, method, shots, seed, value AS accuracy, hyperparameters, settings_fingerprint, image_choice, run_id
FROM study_runs JOIN metrics USING (run_id)
WHERE {here} AND study = {study} AND split = 'test' AND name = 'accuracy'
ORDER BY method, settings_fingerprint, image_choice, shots, seed, run_id""",
    "costs": """
SELECT
    dataset, encoder, n_encoded, n_reused, hours_encoded * 3600 AS seconds_encoded, images_per_second,
    hours_saved * 3600 AS seconds_saved
FROM costs WHERE {here} ORDER BY dataset, encoder""",
}


def statement(name: str, **values: str | int) -> str:
    """A statement of the report with its values written out, as `clip-adapter sql` takes it.

    Args:
        name: name of the statement.
        values: values by the name of their place; without `dataset` and `encoder` it is about all.
    """
    about = [f"{each} = {{{each}}}" for each in ("dataset", "encoder") if each in values]
    text = _STATEMENTS[name].strip().replace("{here}", " AND ".join(about) or "true")
    literals = {place: _literal(value) for place, value in values.items()}
    return _PLACE.sub(lambda found: literals[found[1]], text)


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
