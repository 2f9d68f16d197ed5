-- Residual ratio that CLIP-Adapter's current runs chose, and their accuracy, by number of shots.
-- $dataset = null: name of a dataset; every one when null
SELECT
    dataset, model, shots, median(residual_ratio) AS residual_ratio_median,
    count(*)::INTEGER AS runs, avg(value ORDER BY run_id) AS accuracy_mean, settings_fingerprint, image_choice
FROM current_runs JOIN metrics USING (run_id)
WHERE method = 'clip-adapter' AND split = 'test' AND name = 'accuracy'
    AND candidates[1].settings['residual_ratio'] IS NOT NULL  -- it was chosen, not given
    AND ($dataset IS NULL OR dataset = $dataset)
GROUP BY ALL
ORDER BY dataset, model, shots, settings_fingerprint, image_choice
