-- Classes that a method recognises worse than zero-shot, by the mean recall of current runs.
-- $dataset = null: name of a dataset; every one when null
-- $method = "clip-adapter": name of the method
SELECT
    dataset, model, adapted.shots AS shots, class_name, zero_shot.recall AS recall_zero_shot,
    adapted.recall AS recall_adapted, adapted.recall - zero_shot.recall AS change
FROM per_class AS adapted
JOIN (FROM per_class WHERE method = 'zero-shot') AS zero_shot USING (dataset, model, encoder, class_name)
WHERE adapted.method = $method AND adapted.recall < zero_shot.recall
    AND ($dataset IS NULL OR dataset = $dataset)
ORDER BY change, dataset, shots, class_name
