-- Which runs count: of every configuration and seed, the run that answers the latest request.

-- Of two runs with one fingerprint that a request asks for, the one that was named last counts.
CREATE VIEW internal.requested_runs AS
WITH by_name AS (
    SELECT dataset, run_id, max(sequence) AS named
    FROM (SELECT dataset, unnest(run_ids) AS run_id, sequence FROM internal.each_request) GROUP BY dataset, run_id
),
by_fingerprint AS (
    SELECT dataset, fingerprint, max(sequence) AS asked
    FROM (SELECT dataset, unnest(run_fingerprints) AS fingerprint, sequence FROM internal.each_request)
    GROUP BY dataset, fingerprint
)
SELECT runs.*, greatest(asked, named) AS asked, named
FROM runs LEFT JOIN by_name USING (dataset, run_id) LEFT JOIN by_fingerprint USING (dataset, fingerprint);

CREATE VIEW asked_runs AS
SELECT run_id, asked, named FROM internal.requested_runs WHERE asked IS NOT NULL;
COMMENT ON VIEW asked_runs IS 'The last request that each run answers, and the last that names it by its id.';

-- Runs of a study vary what is constant on a leaderboard, and those of another protocol are tested on
-- other classes or images.
CREATE MACRO internal.purpose(study, protocol) AS CASE
    WHEN study IS NOT NULL THEN 'study'
    WHEN protocol = 'all-classes' THEN 'leaderboard'
    ELSE 'protocol'
END;

-- The completed runs of a purpose that are current, one for each configuration, seed and dataset with
-- the test images.
--
-- Of one dataset with the test images, a domain shift and a cross-dataset run do not stand beside each
-- other: its class names have changed in between, and the last request knows them. Nor do runs on two
-- states of it.
--
-- For each dataset and encoder they are the runs of the state that was requested last and has runs; of
-- several runs of one configuration and seed, the one that answers the latest request. Where no request
-- is recorded, as in stores of earlier versions, the run that started last decides.
CREATE MACRO internal.latest_runs(wanted) AS TABLE
WITH completed AS (
    SELECT
        run_id, started_at, dataset, encoder, index_fingerprint, study, protocol, method,
        settings_fingerprint, image_choice, shots, seed, asked, named,
        coalesce(tested_on.dataset, dataset) AS target,
        tested_on.index_fingerprint AS target_state
    FROM internal.requested_runs
    WHERE status = 'completed' AND internal.purpose(study, protocol) = wanted
),
asked_states AS (
    SELECT dataset, encoder, index_fingerprint, max((sequence, request_id)) AS last_request
    FROM internal.each_request GROUP BY ALL
),
states AS (
    SELECT dataset, encoder, index_fingerprint, max(started_at) AS last_start
    FROM completed GROUP BY ALL
),
latest AS (
    SELECT dataset, encoder, coalesce(
        arg_max(index_fingerprint, last_request) FILTER (last_request IS NOT NULL),
        arg_max(index_fingerprint, (last_start, index_fingerprint))
    ) AS index_fingerprint
    FROM states LEFT JOIN asked_states USING (dataset, encoder, index_fingerprint)
    GROUP BY dataset, encoder
),
tested_states AS (
    SELECT
        dataset, encoder, target,
        arg_max(target_state, (coalesce(asked, 0), started_at)) AS tested_state
    FROM completed WHERE target_state IS NOT NULL GROUP BY ALL
),
asked_names AS (
    SELECT dataset, encoder, arg_max(model, (sequence, request_id)) AS asked_name
    FROM internal.each_request WHERE model IS NOT NULL GROUP BY ALL
),
chosen AS (
    SELECT
        dataset, encoder, method, shots,
        -- The least of these: a request, a run that was named, and a start, each the later the less.
        arg_min(run_id, (
            -coalesce(asked, 0), -coalesce(named, 0),
            CASE WHEN asked IS NULL THEN -epoch_us(started_at) END, run_id
        )) AS run_id,
        max(asked) AS asked
    FROM completed
    SEMI JOIN latest USING (dataset, encoder, index_fingerprint)
    LEFT JOIN tested_states USING (dataset, encoder, target)
    WHERE target_state IS NOT DISTINCT FROM tested_state
    GROUP BY
        dataset, encoder, study, protocol = 'base-to-new', target,
        method, settings_fingerprint, image_choice, shots, seed
)
SELECT chosen.*, asked_name FROM chosen LEFT JOIN asked_names USING (dataset, encoder);

CREATE VIEW current_runs AS
SELECT runs.* REPLACE (coalesce(asked_name, model) AS model), asked
FROM runs JOIN internal.latest_runs('leaderboard') USING (run_id, dataset, shots);
COMMENT ON VIEW current_runs IS 'The current runs, one for each configuration and seed: those of the state that was requested last; asked is the number of the last request that a run answers.';

CREATE VIEW study_runs AS
SELECT runs.* REPLACE (coalesce(asked_name, model) AS model), asked
FROM runs JOIN internal.latest_runs('study') USING (run_id);
COMMENT ON VIEW study_runs IS 'The current runs of studies, which are in no other view but runs.';

CREATE VIEW protocol_runs AS
SELECT runs.* REPLACE (coalesce(asked_name, model) AS model), asked
FROM runs JOIN internal.latest_runs('protocol') USING (run_id);
COMMENT ON VIEW protocol_runs IS 'The current runs that were trained on half of the classes, or tested on another dataset; they are in no other view but runs, base_to_new and shift.';

