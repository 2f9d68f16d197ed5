-- Methods on the same test images, as `clip-adapter compare` does. What varies between draws and images is
-- computed by the function `paired_difference`, in Python.

CREATE VIEW internal.correct_images AS
SELECT
    run_id, list(label = predicted ORDER BY position) AS correct,
    md5(string_agg(lower(hex(image_sha256)) || ' ' || label, ',' ORDER BY position)) AS images
FROM internal.test_predictions
GROUP BY run_id;

-- A run of a method without seeds serves at every seed of the other, and one without shots at any number.
CREATE VIEW paired AS
WITH run AS (
    SELECT
        dataset, model, encoder, method, settings_fingerprint, image_choice, shots, seed, run_id,
        split_fingerprint, correct, images, training_images
    FROM current_runs LEFT JOIN internal.correct_images USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
),
pairs AS (
    SELECT
        a.dataset, a.model, greatest(a.shots, b.shots) AS shots, a.method AS method_a, b.method AS method_b,
        list(coalesce(a.seed, b.seed) ORDER BY coalesce(a.seed, b.seed)) AS seeds,
        list(a.correct ORDER BY coalesce(a.seed, b.seed)) AS correct_a,
        list(b.correct ORDER BY coalesce(a.seed, b.seed)) AS correct_b,
        -- Null, which stands for no images or unknown ones, is a set of its own.
        count(DISTINCT coalesce(a.training_images, '')) = 1
            AND count(DISTINCT coalesce(b.training_images, '')) = 1
            AND count(a.training_images) + count(b.training_images) > 0 AS same_training_images,
        a.settings_fingerprint AS settings_fingerprint_a, b.settings_fingerprint AS settings_fingerprint_b,
        a.encoder, a.image_choice AS image_choice_a, b.image_choice AS image_choice_b
    FROM run AS a JOIN run AS b
        ON a.dataset = b.dataset AND a.encoder = b.encoder
        AND (a.shots = b.shots OR a.shots = 0 OR b.shots = 0)
        AND (a.seed = b.seed OR a.seed IS NULL OR b.seed IS NULL)
        AND (a.split_fingerprint = b.split_fingerprint OR '' IN (a.split_fingerprint, b.split_fingerprint))
        AND (a.method, a.settings_fingerprint, a.image_choice, a.shots)
            <> (b.method, b.settings_fingerprint, b.image_choice, b.shots)
    GROUP BY
        a.dataset, a.encoder, a.model, a.shots, b.shots, a.method, b.method, a.settings_fingerprint,
        b.settings_fingerprint, a.image_choice, b.image_choice
    HAVING bool_and(a.images IS NOT NULL AND b.images IS NOT NULL)
        AND count(DISTINCT a.images) = 1 AND bool_and(a.images = b.images)
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
