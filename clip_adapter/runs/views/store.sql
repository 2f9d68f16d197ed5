-- What the store holds, what images it has twice, and what reuse saved.

CREATE VIEW files AS FROM stored.files;
COMMENT ON VIEW files IS 'One row a complete Parquet file of the store, or a classifier that was promoted; digests are compared when a file is read, not here.';

-- The state of each dataset that was requested last; where no request is recorded, that of the last run.
CREATE VIEW internal.current_indexes AS
WITH asked AS (
    SELECT dataset, arg_max(index_fingerprint, (sequence, request_id)) AS asked
    FROM requests WHERE index_fingerprint IS NOT NULL GROUP BY dataset
),
ran AS (
    SELECT dataset, arg_max(index_fingerprint, started_at) AS ran FROM runs GROUP BY dataset
),
known AS (SELECT dataset, max(index_fingerprint) AS known FROM stored.images GROUP BY dataset)
SELECT dataset, coalesce(asked, ran, known) AS index_fingerprint
FROM known LEFT JOIN asked USING (dataset) LEFT JOIN ran USING (dataset);

CREATE VIEW leaks AS
WITH places AS (
    SELECT
        image_sha256, dataset, split, min(path) AS path, arg_min(class_name, path) AS class_name,
        count(*) OVER (PARTITION BY image_sha256) AS n_places
    FROM images SEMI JOIN internal.current_indexes USING (dataset, index_fingerprint)
    GROUP BY image_sha256, dataset, split
),
tested AS (
    SELECT split_fingerprint, dataset, count(*) AS n_runs
    FROM (
        SELECT
            split_fingerprint, coalesce(tested_on.dataset, dataset) AS dataset,
            coalesce(tested_on.index_fingerprint, index_fingerprint) AS index_fingerprint
        FROM runs WHERE status = 'completed' AND split_fingerprint <> ''
    )
    SEMI JOIN internal.current_indexes USING (dataset, index_fingerprint)
    GROUP BY ALL
),
trained AS (
    SELECT DISTINCT split_fingerprint, image_sha256 FROM stored.splits
    SEMI JOIN (SELECT unhex(image_sha256) AS image_sha256 FROM places WHERE split = 'test')
        USING (image_sha256)
    WHERE role = 'train'
),
training AS (
    SELECT lower(hex(image_sha256)) AS image_sha256, dataset, sum(n_runs) AS n_runs
    FROM trained JOIN tested USING (split_fingerprint) GROUP BY ALL
)
SELECT
    places.image_sha256, places.dataset, places.split, places.path, places.class_name,
    places.n_places::INTEGER AS n_places,
    CASE WHEN places.split = 'test' THEN coalesce(training.n_runs, 0)::INTEGER END AS n_runs_trained
FROM places LEFT JOIN training USING (image_sha256, dataset)
WHERE places.n_places > 1 OR (places.split = 'test' AND training.n_runs > 0)
ORDER BY ALL;
COMMENT ON VIEW leaks IS 'Images, by their content, that are in more than one dataset or split of the current states, one row for each; and test images that trained a run which was tested on them.';

-- The rate of a few images is mostly that of starting up. `clip_adapter.runs.encoding_rate` reads it as well.
CREATE VIEW internal.encoding_rates AS
SELECT
    encoder, device, sum(n_encoded) / sum(seconds) AS images_per_second, max(started_at) AS last_used
FROM extractions WHERE n_encoded >= 32 AND seconds >= 0.5 GROUP BY encoder, device;

-- Of several devices the one used last counts.
CREATE VIEW costs AS
WITH rates AS (
    SELECT encoder, arg_max(images_per_second, (last_used, device)) AS images_per_second
    FROM internal.encoding_rates GROUP BY encoder
)
SELECT
    dataset, arg_max(model, started_at) AS model,
    count(*)::INTEGER AS n_extractions,
    sum(n_encoded)::BIGINT AS n_encoded, sum(n_reused)::BIGINT AS n_reused,
    sum(seconds) / 3600 AS hours_encoded,
    any_value(images_per_second) AS images_per_second,
    sum(n_reused) / any_value(images_per_second) / 3600 AS hours_saved,
    encoder
FROM extractions LEFT JOIN rates USING (encoder)
GROUP BY dataset, encoder
ORDER BY dataset, encoder;
COMMENT ON VIEW costs IS 'What encoding cost and what stored features saved, for each dataset and encoder. An image counts as reused once for each new request that needed it; a request that repeats the last one is not recorded, and earlier versions recorded no request that encoded nothing.';
