-- Methods on the same test images, as `clip-adapter compare` does. What varies between draws and images is
-- computed by the function `paired_difference`, in Python.

-- What each run classifies correctly, in the order of its test images, and a digest over these with their
-- labels. `clip_adapter.runs.comparison` reads it as well. The groups are the runs: their other columns are
-- there so that a condition on them chooses the runs before predictions are read.
CREATE VIEW internal.correct_images AS
SELECT
    run_id, dataset, encoder, method, settings_fingerprint, image_choice, shots, split_fingerprint,
    list(label = predicted ORDER BY position) AS correct,
    md5(string_agg(lower(hex(image_sha256)) || ' ' || label, ',' ORDER BY position)) AS images
FROM runs JOIN internal.test_predictions USING (run_id)
GROUP BY run_id, dataset, encoder, method, settings_fingerprint, image_choice, shots, split_fingerprint;

-- A run of a method without shots serves at every number of shots of the others, and one without seeds at
-- every seed. Both sides are joined on equal columns, so that a condition on these or on a method reaches
-- the view above.
CREATE VIEW internal.run_pairs AS
WITH available AS MATERIALIZED (
    SELECT
        run_id, started_at, dataset, model, encoder, method, settings_fingerprint, image_choice, shots, seed,
        split_fingerprint
    FROM current_runs
),
choices AS (SELECT DISTINCT dataset, encoder, shots AS served_shots FROM runs),
at_shots AS NOT MATERIALIZED (
    FROM available
    LEFT JOIN internal.correct_images USING (
        run_id, dataset, encoder, method, settings_fingerprint, image_choice, shots, split_fingerprint
    )
    JOIN choices USING (dataset, encoder)
    WHERE shots IN (0, served_shots)
)
SELECT
    dataset, encoder, served_shots AS shots, coalesce(a.seed, b.seed) AS seed,
    a.method AS method_a, a.settings_fingerprint AS settings_fingerprint_a, a.image_choice AS image_choice_a,
    b.method AS method_b, b.settings_fingerprint AS settings_fingerprint_b, b.image_choice AS image_choice_b,
    a.shots AS shots_a, b.shots AS shots_b, a.split_fingerprint AS split_a, b.split_fingerprint AS split_b,
    a.model, (a.started_at, a.run_id) AS start_a,
    a.correct AS correct_a, b.correct AS correct_b, a.images AS images_a, b.images AS images_b
FROM at_shots AS a JOIN at_shots AS b USING (dataset, encoder, served_shots)
WHERE greatest(a.shots, b.shots) = served_shots
    AND (a.seed = b.seed OR a.seed IS NULL OR b.seed IS NULL)
    AND (a.split_fingerprint = b.split_fingerprint OR '' IN (a.split_fingerprint, b.split_fingerprint))
    AND (a.method, a.settings_fingerprint, a.image_choice, a.shots)
        <> (b.method, b.settings_fingerprint, b.image_choice, b.shots);

CREATE VIEW paired AS
WITH pairs AS (
    SELECT
        dataset, arg_max(model, start_a) AS model, shots, method_a, method_b,
        list(seed ORDER BY seed) AS seeds,
        list(correct_a ORDER BY seed) AS correct_a, list(correct_b ORDER BY seed) AS correct_b,
        -- Null, which stands for no images or unknown ones, is a set of its own.
        count(DISTINCT coalesce(set_a.training_images, '')) = 1
            AND count(DISTINCT coalesce(set_b.training_images, '')) = 1
            AND count(set_a.training_images) + count(set_b.training_images) > 0 AS same_training_images,
        settings_fingerprint_a, settings_fingerprint_b, encoder, image_choice_a, image_choice_b
    FROM internal.run_pairs
    LEFT JOIN training_sets AS set_a ON set_a.split_fingerprint = split_a
    LEFT JOIN training_sets AS set_b ON set_b.split_fingerprint = split_b
    GROUP BY
        dataset, encoder, shots, shots_a, shots_b, method_a, method_b, settings_fingerprint_a,
        settings_fingerprint_b, image_choice_a, image_choice_b
    HAVING bool_and(images_a IS NOT NULL AND images_a IS NOT DISTINCT FROM images_b)
        AND count(DISTINCT images_a) = 1
),
compared AS (
    SELECT * EXCLUDE (correct_a, correct_b),
        paired_difference(correct_a, correct_b, same_training_images) AS found
    FROM pairs
)
SELECT
    dataset, model, shots, method_a, method_b, seeds, found.n_images,
    found.accuracy_a, found.accuracy_b, found.difference, found.low, found.high, found.p_value, found.verdict,
    found.wins, found.losses, found.seed_differences, found.same_training_images,
    settings_fingerprint_a, settings_fingerprint_b, encoder, image_choice_a, image_choice_b
FROM compared
ORDER BY dataset, model, shots, method_a, method_b, settings_fingerprint_a, settings_fingerprint_b;
COMMENT ON VIEW paired IS 'Accuracy of method a minus that of method b on the same test images, each pair in both orders, with the interval and p-value of clip-adapter compare, which cover images and draws; runs that share no seed, training images or test images have no row.';
