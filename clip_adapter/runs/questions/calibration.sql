-- Confidence against accuracy on test images in ten bins of confidence, before and after temperature scaling.
-- $method = "clip-adapter": name of the method
-- $dataset = null: name of a dataset; every one when null
-- $shots = null: training images a class; every number when null
WITH run AS (
    SELECT run_id, dataset, model, shots, settings_fingerprint, image_choice FROM current_runs
    WHERE method = $method AND ($dataset IS NULL OR dataset = $dataset) AND ($shots IS NULL OR shots = $shots)
),
bins AS (
    SELECT
        dataset, model, shots, settings_fingerprint, image_choice, 'before' AS temperature, least(floor(confidence * 10), 9)::INTEGER AS bin,
        count(*) AS n, sum(confidence) AS sum_confidence, count(*) FILTER (correct) AS n_correct
    FROM run JOIN predictions USING (run_id) GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        dataset, model, shots, settings_fingerprint, image_choice, 'after' AS temperature, step AS bin,
        sum(n) AS n, sum(n * confidence) AS sum_confidence, sum(n * accuracy) AS n_correct
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
    dataset, model, shots, temperature, bin, n::BIGINT AS n,
    sum_confidence / n AS confidence, n_correct / n AS accuracy,
    settings_fingerprint, image_choice
FROM bins
ORDER BY dataset, model, shots, settings_fingerprint, image_choice, temperature DESC, bin
