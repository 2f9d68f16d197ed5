-- What the last request on each dataset changed, against the requests before it.
-- $dataset = null: name of a dataset; every one when null
SELECT
    dataset, model, method, shots, change, accuracy_before, accuracy, difference, seeds, n_other_runs,
    other_images, tested_on
FROM changes
WHERE change <> 'unchanged' AND ($dataset IS NULL OR dataset = $dataset)
ORDER BY dataset, model, method, shots, settings_fingerprint
