-- Methods on the same test images, as `clip-adapter compare` does. What varies between draws and images is
-- computed by the function `paired_difference`, in Python.

-- A run of a method without seeds serves at every seed of the other, and one without shots at any number.
-- The subqueries read the predictions of the runs that a statement asks for, and of no other.
CREATE VIEW internal.run_pairs AS
SELECT
    a.dataset, a.model, a.encoder, greatest(a.shots, b.shots) AS shots, coalesce(a.seed, b.seed) AS seed,
    a.method AS method_a, a.settings_fingerprint AS settings_fingerprint_a, a.image_choice AS image_choice_a,
    b.method AS method_b, b.settings_fingerprint AS settings_fingerprint_b, b.image_choice AS image_choice_b,
    a.shots AS shots_a, b.shots AS shots_b, a.split_fingerprint AS split_a, b.split_fingerprint AS split_b,
    (SELECT {
        'correct': list(label = predicted ORDER BY position),
        'digest': md5(string_agg(lower(hex(image_sha256)) || ' ' || label, ',' ORDER BY position))
    } FROM internal.test_predictions WHERE run_id = a.run_id) AS images_a,
    (SELECT {
        'correct': list(label = predicted ORDER BY position),
        'digest': md5(string_agg(lower(hex(image_sha256)) || ' ' || label, ',' ORDER BY position))
    } FROM internal.test_predictions WHERE run_id = b.run_id) AS images_b
FROM current_runs AS a JOIN current_runs AS b
    ON a.dataset = b.dataset AND a.encoder = b.encoder
    AND (a.shots = b.shots OR a.shots = 0 OR b.shots = 0)
    AND (a.seed = b.seed OR a.seed IS NULL OR b.seed IS NULL)
    AND (a.split_fingerprint = b.split_fingerprint OR '' IN (a.split_fingerprint, b.split_fingerprint))
    AND (a.method, a.settings_fingerprint, a.image_choice, a.shots)
        <> (b.method, b.settings_fingerprint, b.image_choice, b.shots);

CREATE VIEW paired AS
WITH pairs AS (
    SELECT
        dataset, model, shots, method_a, method_b,
        list(seed ORDER BY seed) AS seeds,
        list(images_a.correct ORDER BY seed) AS correct_a, list(images_b.correct ORDER BY seed) AS correct_b,
        -- Null, which stands for no images or unknown ones, is a set of its own.
        count(DISTINCT coalesce(set_a.training_images, '')) = 1
            AND count(DISTINCT coalesce(set_b.training_images, '')) = 1
            AND count(set_a.training_images) + count(set_b.training_images) > 0 AS same_training_images,
        settings_fingerprint_a, settings_fingerprint_b, encoder, image_choice_a, image_choice_b
    FROM internal.run_pairs
    LEFT JOIN training_sets AS set_a ON set_a.split_fingerprint = split_a
    LEFT JOIN training_sets AS set_b ON set_b.split_fingerprint = split_b
    GROUP BY
        dataset, encoder, model, shots, shots_a, shots_b, method_a, method_b, settings_fingerprint_a,
        settings_fingerprint_b, image_choice_a, image_choice_b
    HAVING bool_and(images_a.digest IS NOT NULL) AND count(DISTINCT images_a.digest) = 1
        AND bool_and(images_a.digest IS NOT DISTINCT FROM images_b.digest)
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
