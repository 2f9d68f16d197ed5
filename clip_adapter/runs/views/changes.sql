-- What the last request on each dataset changed.

-- Every run that answers a request: those that it names, and of each fingerprint the last run.
CREATE VIEW internal.answers AS
WITH named AS (SELECT dataset, sequence, unnest(run_ids) AS run_id FROM requests),
asked AS (SELECT dataset, sequence, unnest(run_fingerprints) AS fingerprint FROM requests),
made AS (
    SELECT dataset, sequence, arg_max(run_id, (started_at, run_id)) AS run_id
    FROM asked JOIN (SELECT dataset, fingerprint, run_id, started_at FROM runs WHERE status = 'completed')
        USING (dataset, fingerprint)
    GROUP BY dataset, sequence, fingerprint
)
FROM named UNION FROM made;

CREATE VIEW changes AS
WITH answered AS (
    SELECT
        dataset, sequence, run_id, model, encoder, method, settings_fingerprint, image_choice, shots, seed,
        coalesce(tested_on.dataset, dataset) AS tested_on, study, index_fingerprint, accuracy
    FROM internal.answers JOIN runs USING (dataset, run_id) JOIN internal.test_scores USING (run_id)
),
last_requests AS (
    SELECT dataset, max(sequence) AS sequence FROM requests GROUP BY dataset
),
asked_now AS (SELECT answered.* FROM answered JOIN last_requests USING (dataset, sequence)),
asked_before AS (
    SELECT answered.* FROM answered JOIN last_requests AS last USING (dataset)
    WHERE answered.sequence < last.sequence
    QUALIFY row_number() OVER (
        PARTITION BY dataset, encoder, method, settings_fingerprint, image_choice, shots, seed, tested_on, study
        ORDER BY answered.sequence DESC, run_id
    ) = 1
)
SELECT
    asked_now.dataset, any_value(asked_now.model) AS model, asked_now.method, asked_now.shots,
    CASE
        WHEN count(asked_before.run_id) = 0 THEN 'new'
        WHEN bool_and(asked_now.run_id IS NOT DISTINCT FROM asked_before.run_id) THEN 'unchanged'
        ELSE 'changed'
    END AS change,
    count(asked_before.run_id)::INTEGER AS seeds_before, count(*)::INTEGER AS seeds,
    avg(asked_before.accuracy) AS accuracy_before, avg(asked_now.accuracy) AS accuracy,
    avg(asked_now.accuracy - asked_before.accuracy) AS difference,
    count(*) FILTER (asked_now.run_id IS DISTINCT FROM asked_before.run_id)::INTEGER AS n_other_runs,
    coalesce(bool_or(asked_now.index_fingerprint <> asked_before.index_fingerprint), false) AS other_images,
    max(asked_before.sequence) AS sequence_before, asked_now.sequence, asked_now.tested_on, asked_now.study,
    asked_now.settings_fingerprint, asked_now.encoder, asked_now.image_choice
FROM asked_now LEFT JOIN asked_before
    ON asked_before.dataset = asked_now.dataset AND asked_before.encoder = asked_now.encoder
    AND asked_before.method = asked_now.method
    AND asked_before.settings_fingerprint = asked_now.settings_fingerprint
    AND asked_before.image_choice = asked_now.image_choice AND asked_before.shots = asked_now.shots
    AND asked_before.seed IS NOT DISTINCT FROM asked_now.seed
    AND asked_before.tested_on = asked_now.tested_on
    AND asked_before.study IS NOT DISTINCT FROM asked_now.study
GROUP BY ALL
ORDER BY ALL;
COMMENT ON VIEW changes IS 'The methods of the last request on each dataset beside the same methods, settings and shots in the requests before it; difference is the mean over the seeds that both have.';
