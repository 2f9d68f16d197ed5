-- Residual ratios that CLIP-Adapter's current runs tried, and their accuracy on the images to select on, by number of shots.
-- $dataset = null: name of a dataset; every one when null
-- $shots = null: training images a class; every number when null
WITH tried AS (
    SELECT
        run_id, dataset, model, shots, selected_on, settings_fingerprint, image_choice,
        residual_ratio AS chosen, unnest(candidates) AS candidate
    FROM current_runs
    WHERE method = 'clip-adapter' AND ($dataset IS NULL OR dataset = $dataset)
        AND ($shots IS NULL OR shots = $shots)
),
-- Of several candidates of one ratio, as with other epochs, the best.
best AS (
    SELECT
        run_id, dataset, model, shots, selected_on, settings_fingerprint, image_choice, chosen,
        candidate.settings['residual_ratio'] AS residual_ratio,
        max(candidate.validation_accuracy) AS accuracy
    FROM tried GROUP BY ALL
)
SELECT
    dataset, model, shots, residual_ratio, avg(accuracy ORDER BY run_id) AS validation_accuracy_mean,
    selected_on,
    count(*)::INTEGER AS runs, (count(*) FILTER (residual_ratio = chosen))::INTEGER AS n_chosen,
    settings_fingerprint, image_choice
FROM best
WHERE residual_ratio IS NOT NULL
GROUP BY ALL
ORDER BY dataset, model, shots, settings_fingerprint, image_choice, selected_on, residual_ratio
