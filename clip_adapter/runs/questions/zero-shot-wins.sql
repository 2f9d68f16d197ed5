-- Test images that zero-shot classifies correctly and another method wrongly, with the confidence of both.
-- $method = "clip-adapter": name of the method
-- $dataset = null: name of a dataset; every one when null
-- $shots = null: training images a class; every number when null
-- $seed = null: seed of the run; every one when null
-- $top = 20: number of rows
WITH places AS (
    SELECT index_fingerprint, image_sha256, min(path) AS path FROM images GROUP BY ALL
)
SELECT
    adapted.dataset, adapted.model, adapted.shots, adapted.seed, path,
    adapted.class_names[wrong.label + 1] AS class_name,
    adapted.class_names[wrong.predicted + 1] AS predicted_name,
    wrong.confidence, "right".confidence AS confidence_zero_shot, wrong.image_sha256
FROM current_runs AS adapted
JOIN current_runs AS zero_shot USING (dataset, encoder)
JOIN predictions AS wrong ON wrong.run_id = adapted.run_id
JOIN predictions AS "right" ON "right".run_id = zero_shot.run_id AND "right".image_sha256 = wrong.image_sha256
    AND "right".position = wrong.position
LEFT JOIN places
    ON places.index_fingerprint = adapted.index_fingerprint AND places.image_sha256 = wrong.image_sha256
WHERE adapted.method = $method AND zero_shot.method = 'zero-shot' AND "right".correct AND NOT wrong.correct
    AND ($dataset IS NULL OR adapted.dataset = $dataset)
    AND ($shots IS NULL OR adapted.shots = $shots) AND ($seed IS NULL OR adapted.seed = $seed)
ORDER BY wrong.confidence DESC, adapted.dataset, adapted.shots, adapted.seed, wrong.image_sha256
LIMIT $top
