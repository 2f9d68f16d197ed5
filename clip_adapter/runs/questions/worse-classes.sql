-- Classes that a method recognises worse than the zero-shot that ran last, by the mean recall of current runs.
-- $dataset = null: name of a dataset; every one when null
-- $method = "clip-adapter": name of the method
WITH last_zero_shot AS (
    SELECT dataset, encoder, method, settings_fingerprint, image_choice, shots
    FROM leaderboard WHERE method = 'zero-shot'
    QUALIFY row_number() OVER (
        PARTITION BY dataset, encoder ORDER BY last_run DESC, settings_fingerprint, image_choice, shots
    ) = 1
),
zero_shot AS (
    FROM per_class SEMI JOIN last_zero_shot
        USING (dataset, encoder, method, settings_fingerprint, image_choice, shots)
)
SELECT
    dataset, adapted.model, adapted.shots AS shots, class_name, zero_shot.recall AS recall_zero_shot,
    adapted.recall AS recall_adapted, adapted.recall - zero_shot.recall AS change,
    adapted.settings_fingerprint, adapted.image_choice
FROM per_class AS adapted JOIN zero_shot USING (dataset, encoder, class_name)
WHERE adapted.method = $method AND adapted.recall < zero_shot.recall
    AND ($dataset IS NULL OR dataset = $dataset)
ORDER BY change, dataset, shots, class_name, settings_fingerprint, image_choice
