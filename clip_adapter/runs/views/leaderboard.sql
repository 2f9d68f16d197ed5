-- Mean accuracies over seeds with 95 % intervals.

-- The 97.5 % quantile of Student's t distribution, which DuckDB does not have: a table up to 60 degrees of
-- freedom; beyond, to nine digits, the expansion 26.7.5 of Abramowitz and Stegun, Handbook of Mathematical
-- Functions (1964).
CREATE MACRO internal.student_t_975(degrees) AS CASE
    WHEN degrees BETWEEN 1 AND 60 THEN [
        12.7062047361747, 4.30265272974946, 3.18244630528371, 2.77644510519779, 2.57058183563631, 2.44691185114498,
        2.36462425159278, 2.30600413520417, 2.2621571627982, 2.22813885198627, 2.20098516009164, 2.17881282966723,
        2.16036865646279, 2.1447866879178, 2.13144954555978, 2.11990529922125, 2.10981557783332, 2.10092204024104,
        2.09302405440831, 2.08596344726586, 2.07961384472768, 2.07387306790403, 2.06865761041905, 2.06389856162802,
        2.0595385527533, 2.05552943864287, 2.05183051648028, 2.04840714179525, 2.0452296421327, 2.04227245630124,
        2.03951344639641, 2.0369333434601, 2.03451529744934, 2.03224450931772, 2.03010792825034, 2.02809400098045,
        2.02619246302911, 2.02439416391197, 2.02269092003676, 2.02107539030627, 2.01954097044138, 2.01808170281844,
        2.01669219922782, 2.01536757444376, 2.01410338888085, 2.01289559891943, 2.01174051372977, 2.01063475762423,
        2.00957523712924, 2.00855911210076, 2.00758377031584, 2.00664680506169, 2.00574599531787, 2.00487928818806,
        2.00404478328915, 2.00324071884787, 2.00246545929101, 2.00171748414524, 2.00099537808827, 2.00029782201426
    ][degrees]::DOUBLE
    ELSE 1.959963984540054::DOUBLE
        + 2.372271230298562::DOUBLE / degrees ** 1
        + 2.8224986157396112::DOUBLE / degrees ** 2
        + 2.555849679507722::DOUBLE / degrees ** 3
        + 1.5895340533938225::DOUBLE / degrees ** 4
END;

-- Multiplied with a standard deviation over seeds, it is the half-width of the 95 % interval. There is
-- none where all seeds train on the same images.
CREATE MACRO internal.interval_factor(seeds, draws) AS
CASE WHEN draws > 1 THEN internal.student_t_975(seeds - 1) / sqrt(seeds) END;

-- A row that is stored twice does not change a maximum.
CREATE VIEW internal.test_scores AS
SELECT
    run_id,
    max(value) FILTER (name = 'accuracy') AS accuracy,
    max(value) FILTER (name = 'nll') AS nll
FROM stored.metrics_in_files WHERE split = 'test' AND name IN ('accuracy', 'nll') GROUP BY run_id;

CREATE VIEW leaderboard AS
WITH summary AS (
    SELECT
        dataset, arg_max(model, (started_at, run_id)) AS model, method, shots,
        count(*)::INTEGER AS seeds,
        len(list_distinct(list(coalesce(training_images, run_id))))::INTEGER AS draws,
        avg(accuracy) AS accuracy_mean,
        stddev_samp(accuracy) AS deviation,
        min(accuracy) AS accuracy_min,
        max(accuracy) AS accuracy_max,
        avg(nll) AS nll_mean,
        selected_on,
        median(residual_ratio) AS residual_ratio_median,
        avg(seconds_train) AS seconds_train_mean,
        settings_fingerprint,
        max(started_at) AS last_run,
        encoder,
        arg_max(hyperparameters, (started_at, run_id)) AS hyperparameters,
        image_choice
    FROM current_runs JOIN internal.test_scores USING (run_id)
    LEFT JOIN training_sets USING (split_fingerprint)
    WHERE accuracy IS NOT NULL
    GROUP BY dataset, encoder, method, settings_fingerprint, image_choice, shots, selected_on
)
SELECT
    dataset, model, method, shots, seeds, accuracy_mean,
    internal.interval_factor(seeds, draws) * deviation AS accuracy_ci95,
    accuracy_min, accuracy_max, nll_mean, selected_on, residual_ratio_median,
    seconds_train_mean, settings_fingerprint, last_run, encoder, hyperparameters, draws, image_choice
FROM summary
ORDER BY dataset, model, shots, accuracy_mean DESC, method, settings_fingerprint, image_choice;
COMMENT ON VIEW leaderboard IS 'Mean accuracy over seeds of runs of one image choice, a fraction, with the half-width of its 95 % interval (null for a single seed, and where all seeds train on the same images: draws counts the different sets of training images); hyperparameters are those of the last run.';
