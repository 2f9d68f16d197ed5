-- Images that every current run which classified them unseen gives another class than their label, least probable labels first.
-- $dataset = null: name of a dataset; every one when null
-- $method = null: name of a method; every one when null
-- $top = 20: number of images
WITH classified AS (
    SELECT run_id, image_sha256, label, predicted, correct, confidence, label_probability, 'test' AS split
    FROM predictions
    UNION ALL BY NAME
    SELECT run_id, image_sha256, label, predicted, correct, confidence, label_probability, split
    FROM selection_predictions
),
places AS (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
)
SELECT
    dataset, classified.split, path, class_names[label + 1] AS class_name,
    mode(class_names[predicted + 1] ORDER BY class_names[predicted + 1]) AS predicted_name, avg(label_probability ORDER BY run_id) AS label_probability,
    avg(confidence ORDER BY run_id) AS confidence, count(*)::INTEGER AS n_runs, image_sha256
FROM classified JOIN current_runs USING (run_id)
LEFT JOIN places USING (index_fingerprint, image_sha256)
WHERE ($dataset IS NULL OR dataset = $dataset) AND ($method IS NULL OR method = $method)
GROUP BY dataset, classified.split, path, class_name, image_sha256
HAVING NOT bool_or(correct)
ORDER BY avg(label_probability ORDER BY run_id) NULLS LAST, n_runs DESC, dataset, image_sha256
LIMIT $top
