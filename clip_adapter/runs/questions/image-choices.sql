-- Current runs by what chose their training images: own draws, published choices, or a budget of images.
-- $dataset = null: name of a dataset; every one when null
SELECT
    dataset, model, image_choice, method, shots, count(*)::INTEGER AS n_runs,
    list(seed ORDER BY seed) FILTER (seed IS NOT NULL) AS seeds
FROM current_runs
WHERE shots > 0 AND ($dataset IS NULL OR dataset = $dataset)
GROUP BY ALL
ORDER BY dataset, model, image_choice, method, shots
