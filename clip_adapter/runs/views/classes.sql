-- Test images by class, and the images on which methods differ.

-- The current runs of one method with its settings, at one number of shots. The number of a configuration,
-- the least of its runs, is there to count by: names are joined to the few counts.
CREATE VIEW internal.configurations AS
SELECT
    dataset, arg_max(model, (started_at, run_id)) AS model, method, shots, settings_fingerprint, encoder,
    image_choice, any_value(class_names) AS class_names,  -- of one state of a dataset
    list(run_id) AS run_ids,
    min(number) AS configuration
FROM current_runs JOIN (SELECT run_id, number FROM stored.runs) USING (run_id)
GROUP BY dataset, method, shots, settings_fingerprint, encoder, image_choice;

-- Class numbers count from 0, DuckDB's lists from 1.
CREATE VIEW confusion AS
WITH configurations AS MATERIALIZED (FROM internal.configurations),
counts AS MATERIALIZED (
    SELECT configuration, label, predicted, count(*) AS n
    FROM internal.test_predictions
    JOIN (SELECT configuration, unnest(run_ids) AS run_id FROM configurations) USING (run_id)
    GROUP BY configuration, label, predicted
)
SELECT
    dataset, model, method, shots, label, predicted,
    class_names[label + 1] AS class_name, class_names[predicted + 1] AS predicted_name,
    n::INTEGER AS n, settings_fingerprint, encoder, image_choice
FROM counts JOIN configurations USING (configuration)
ORDER BY dataset, model, method, shots, label, predicted;
COMMENT ON VIEW confusion IS 'Counts of each class and predicted class, over all seeds.';

-- Both sums run over the same counts, so that a class which is never predicted has no precision.
CREATE VIEW per_class AS
WITH configurations AS MATERIALIZED (FROM internal.configurations),
counts AS MATERIALIZED (
    SELECT configuration, label, predicted, count(*) AS n
    FROM internal.test_predictions
    JOIN (SELECT configuration, unnest(run_ids) AS run_id FROM configurations) USING (run_id)
    GROUP BY configuration, label, predicted
),
by_label AS (
    SELECT configuration, label, sum(n) AS n, coalesce(sum(n) FILTER (label = predicted), 0) AS hits
    FROM counts GROUP BY ALL
),
by_prediction AS (
    SELECT configuration, predicted AS label, sum(n) AS n_predicted FROM counts GROUP BY ALL
)
SELECT
    dataset, model, method, shots, class_names[label + 1] AS class_name, n::INTEGER AS n,
    (hits / n)::DOUBLE AS recall,
    (hits / n_predicted)::DOUBLE AS precision,
    (2 * hits / (n + coalesce(n_predicted, 0)))::DOUBLE AS f1,
    settings_fingerprint, encoder, image_choice
FROM by_label LEFT JOIN by_prediction USING (configuration, label)
JOIN configurations USING (configuration)
ORDER BY dataset, model, method, shots, settings_fingerprint, image_choice, label;
COMMENT ON VIEW per_class IS 'Recall, precision (null where a class is never predicted) and F1 of each class; n counts its test images once for each seed.';

-- Runs compare when they saw the same images of a dataset through the same encoder at the same shots and
-- seed; methods that learn from no image (0 shots) take part in every such comparison.
CREATE VIEW disagreements AS
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
ORDER BY ALL;
COMMENT ON VIEW disagreements IS 'The test images on which methods differ at the same shots and seed, one row for each method.';
