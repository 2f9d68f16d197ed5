-- What every chosen hyper-parameter of a current run was chosen on, among how many candidates.
-- $dataset = null: name of a dataset; every one when null
-- $method = null: name of a method; every one when null
SELECT
    dataset, model, method, shots, seed, hyperparameter, hyperparameters[hyperparameter] AS chosen, selected_on,
    CASE selected_on WHEN 'validation' THEN n_validation WHEN 'held-out shots' THEN n_train END AS n_images,
    len(candidates) AS n_candidates,
    list_max(list_transform(candidates, lambda each: each.validation_accuracy)) AS accuracy_on_these,
    settings_fingerprint, image_choice
FROM (
    SELECT *, unnest(map_keys(candidates[1].settings)) AS hyperparameter FROM current_runs
    WHERE ($dataset IS NULL OR dataset = $dataset) AND ($method IS NULL OR method = $method)
)
ORDER BY dataset, model, method, shots, seed, hyperparameter, settings_fingerprint
