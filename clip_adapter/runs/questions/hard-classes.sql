-- Classes that a method recognises worst, by the mean recall of its current runs.
-- $dataset = null: name of a dataset; every one when null
-- $method = null: name of a method; every one when null
-- $shots = null: training images a class; every number when null
-- $top = 20: number of rows
SELECT
    dataset, model, method, shots, class_name, recall, precision, n, settings_fingerprint, image_choice
FROM per_class
WHERE ($dataset IS NULL OR dataset = $dataset)
    AND ($method IS NULL OR method = $method)
    AND ($shots IS NULL OR shots = $shots)
ORDER BY recall, dataset, model, method, shots, class_name, settings_fingerprint, image_choice
LIMIT $top
