-- What the last request on each dataset changed.

-- Every run that answers a request: those that it names, and of each other fingerprint the last run. A run
-- that a later request is the first to name was trained again for that one.
CREATE VIEW internal.runs_of_requests AS
WITH named AS (SELECT dataset, sequence, request_id, unnest(run_ids) AS run_id FROM requests),
named_first AS (
    SELECT dataset, run_id, min((sequence, request_id)) AS first_request FROM named GROUP BY dataset, run_id
),
asked AS (SELECT dataset, sequence, request_id, unnest(run_fingerprints) AS fingerprint FROM requests),
completed AS (
    SELECT dataset, fingerprint, run_id, started_at FROM runs WHERE status = 'completed'
),
made AS (
    SELECT dataset, sequence, request_id, arg_max(run_id, (started_at, run_id)) AS run_id
    FROM asked
    ANTI JOIN (SELECT request_id, fingerprint FROM named JOIN completed USING (dataset, run_id))
        USING (request_id, fingerprint)
    JOIN completed USING (dataset, fingerprint)
    LEFT JOIN named_first USING (dataset, run_id)
    WHERE first_request IS NULL OR first_request <= (sequence, request_id)
    GROUP BY dataset, sequence, request_id, fingerprint
)
FROM named UNION FROM made;

-- A request that asks for no runs, as one to extract features, changes none.
CREATE VIEW changes AS
WITH last_requests AS (
    SELECT dataset, max((sequence, request_id)) AS request
    FROM requests WHERE len(run_ids) + len(run_fingerprints) > 0 GROUP BY dataset
),
answered AS (
    SELECT
        dataset, sequence, request_id, (sequence, request_id) = request AS is_last,
        run_id, model, encoder, method, settings_fingerprint, image_choice, shots, seed, protocol,
        coalesce(tested_on.dataset, dataset) AS tested_on, study, index_fingerprint, accuracy
    FROM internal.runs_of_requests JOIN last_requests USING (dataset)
    JOIN runs USING (dataset, run_id) JOIN internal.test_scores USING (run_id)
    WHERE (sequence, request_id) <= request
    -- Of the last request, and of those before it, one run for each configuration and seed.
    QUALIFY row_number() OVER (
        PARTITION BY
            dataset, encoder, method, settings_fingerprint, image_choice, shots, seed, protocol, tested_on, study,
            is_last
        ORDER BY sequence DESC, request_id DESC, run_id
    ) = 1
),
asked_now AS (FROM answered WHERE is_last),
asked_before AS (FROM answered WHERE NOT is_last)
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
    asked_now.settings_fingerprint, asked_now.encoder, asked_now.image_choice, asked_now.protocol
FROM asked_now LEFT JOIN asked_before
    ON asked_before.dataset = asked_now.dataset AND asked_before.encoder = asked_now.encoder
    AND asked_before.method = asked_now.method
    AND asked_before.settings_fingerprint = asked_now.settings_fingerprint
    AND asked_before.image_choice = asked_now.image_choice AND asked_before.shots = asked_now.shots
    AND asked_before.seed IS NOT DISTINCT FROM asked_now.seed
    AND asked_before.protocol = asked_now.protocol
    AND asked_before.tested_on = asked_now.tested_on
    AND asked_before.study IS NOT DISTINCT FROM asked_now.study
GROUP BY ALL
ORDER BY ALL;
COMMENT ON VIEW changes IS 'The methods of the last request on each dataset that asked for runs, beside the same methods, settings, shots and protocol in the requests before it; difference is the mean over the seeds that both have.';
