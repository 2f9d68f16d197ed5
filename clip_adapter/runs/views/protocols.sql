-- The protocols beside training and testing on all classes of one dataset.

-- The harmonic mean is that of the accuracies of each half among its own classes (Zhou et al. 2022,
-- https://arxiv.org/abs/2203.05557, table 1); the mean over seeds is the mean of theirs.
CREATE VIEW base_to_new AS
WITH halves AS (
    SELECT
        run_id,
        max(value) FILTER (split = 'test-base') AS base,
        max(value) FILTER (split = 'test-new') AS new
    FROM metrics WHERE name = 'accuracy' GROUP BY run_id
)
SELECT
    dataset, model, method, shots, seed, base, new,
    CASE WHEN base + new > 0 THEN 2 * base * new / (base + new) ELSE 0.0 END AS harmonic_mean,
    settings_fingerprint, encoder, image_choice, run_id
FROM protocol_runs JOIN halves USING (run_id)
WHERE protocol = 'base-to-new' AND base IS NOT NULL AND new IS NOT NULL
ORDER BY dataset, model, shots, method, settings_fingerprint, image_choice, seed;
COMMENT ON VIEW base_to_new IS 'Accuracy on images of base classes and of new ones, each among its own classes, and their harmonic mean, of every run.';

CREATE VIEW base_to_new_means AS
WITH summary AS (
    SELECT
        dataset, any_value(model) AS model, method, shots, count(*)::INTEGER AS seeds,
        count(DISTINCT coalesce(training_images, run_id))::INTEGER AS draws,
        avg(base) AS base_mean, stddev_samp(base) AS base_deviation,
        avg(new) AS new_mean, stddev_samp(new) AS new_deviation,
        avg(harmonic_mean) AS harmonic_mean_mean, stddev_samp(harmonic_mean) AS deviation,
        settings_fingerprint, encoder, image_choice
    FROM base_to_new JOIN (SELECT run_id, split_fingerprint FROM runs) USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
    GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots
)
SELECT
    dataset, model, method, shots, seeds,
    base_mean, factor * base_deviation AS base_ci95,
    new_mean, factor * new_deviation AS new_ci95,
    harmonic_mean_mean, factor * deviation AS harmonic_mean_ci95,
    settings_fingerprint, encoder, image_choice, draws
FROM (SELECT *, internal.interval_factor(seeds, draws) AS factor FROM summary)
ORDER BY dataset, model, shots, harmonic_mean_mean DESC, method, settings_fingerprint, image_choice;
COMMENT ON VIEW base_to_new_means IS 'The means of base_to_new over seeds with the half-widths of their 95 % intervals, as on the leaderboard.';

-- The accuracy on the source is that of the run of the same training on its own test split.
CREATE VIEW shift AS
WITH sources AS (
    SELECT
        dataset, encoder, index_fingerprint, method, settings_fingerprint, split_fingerprint,
        image_choice, shots, seed, accuracy
    FROM current_runs JOIN internal.test_scores USING (run_id)
)
SELECT
    tested.dataset AS source, tested.tested_on.dataset AS target, tested.protocol,
    tested.model, tested.method, tested.shots, tested.seed,
    sources.accuracy AS accuracy_source, test_scores.accuracy AS accuracy_target,
    tested.settings_fingerprint, tested.encoder, tested.image_choice, tested.run_id
FROM protocol_runs AS tested JOIN internal.test_scores USING (run_id) LEFT JOIN sources
    ON sources.dataset = tested.dataset AND sources.encoder = tested.encoder
    AND sources.index_fingerprint = tested.index_fingerprint
    AND sources.method = tested.method
    AND sources.settings_fingerprint = tested.settings_fingerprint
    AND sources.split_fingerprint = tested.split_fingerprint
    AND sources.image_choice = tested.image_choice
    AND sources.shots = tested.shots AND sources.seed IS NOT DISTINCT FROM tested.seed
WHERE tested.protocol IN ('domain-shift', 'cross-dataset')
ORDER BY source, target, model, shots, method, settings_fingerprint, image_choice, seed;
COMMENT ON VIEW shift IS 'Accuracy on the test split of another dataset beside that on the own one of the same classifier.';

-- Both means are over the same seeds: a seed without a run on the own test split counts where none has
-- one.
CREATE VIEW shift_means AS
WITH paired AS (
    FROM shift QUALIFY accuracy_source IS NOT NULL OR count(accuracy_source) OVER (
        PARTITION BY source, target, protocol, encoder, method, settings_fingerprint, image_choice, shots
    ) = 0
),
summary AS (
    SELECT
        source, target, protocol, any_value(model) AS model, method, shots,
        count(*)::INTEGER AS seeds,
        count(DISTINCT coalesce(training_images, run_id))::INTEGER AS draws,
        avg(accuracy_source) AS accuracy_source_mean, stddev_samp(accuracy_source) AS source_deviation,
        avg(accuracy_target) AS accuracy_target_mean, stddev_samp(accuracy_target) AS target_deviation,
        settings_fingerprint, encoder, image_choice
    FROM paired JOIN (SELECT run_id, split_fingerprint FROM runs) USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
    GROUP BY source, target, protocol, encoder, method, settings_fingerprint, image_choice, shots
)
SELECT
    source, target, protocol, model, method, shots, seeds,
    accuracy_source_mean, factor * source_deviation AS accuracy_source_ci95,
    accuracy_target_mean, factor * target_deviation AS accuracy_target_ci95,
    settings_fingerprint, encoder, image_choice, draws
FROM (SELECT *, internal.interval_factor(seeds, draws) AS factor FROM summary)
ORDER BY source, model, target, shots, method, settings_fingerprint, image_choice;
COMMENT ON VIEW shift_means IS 'The means of shift over the seeds that have both accuracies, with the half-widths of their 95 % intervals, as on the leaderboard.';
