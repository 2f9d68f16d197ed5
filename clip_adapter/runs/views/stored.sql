-- What is stored. The schema `stored` has the rows of all files, those of a run once and only if its own
-- row is stored.

CREATE VIEW runs AS
SELECT
    run_id, started_at, status, dataset, model,
    CASE selected_on WHEN 'test (oracle)' THEN method || ' (oracle)' ELSE method END AS method,
    shots, seed,
    settings.residual_ratio, settings.reduction, settings.output_activation, settings.epochs,
    settings.learning_rate, settings.batch_size, settings.weight_decay, settings.optimizer,
    settings.* EXCLUDE (
        residual_ratio, reduction, output_activation, epochs, learning_rate, batch_size,
        weight_decay, optimizer
    ),
    selected_on,
    tried AS candidates,
    study, error,
    seconds_encode, seconds_train, peak_memory_bytes,
    n_train, n_validation, n_test, n_leaked,
    class_names, templates, encoder, logit_scale, device, precision,
    fingerprint, settings_fingerprint, index_fingerprint, split_fingerprint, sweep_id,
    versions, git_commit,
    hyperparameters, coalesce(image_choice, 'own') AS image_choice, selection, logit_bias,
    coalesce(protocol, 'all-classes') AS protocol, tested_on, class_prompts
FROM stored.runs;
COMMENT ON VIEW runs IS 'One row an execution of a method, failed ones too; settings as columns, and all of them as JSON in hyperparameters; class_prompts are null where templates are all prompts; method ends in "(oracle)" where the test split chose a setting.';

CREATE VIEW metrics AS
SELECT run_id, split, name, value FROM stored.metrics;
COMMENT ON VIEW metrics IS 'One row a number: accuracy is a fraction, nll is in nats.';

CREATE VIEW curves AS
SELECT run_id, step, name, value FROM stored.curves;
COMMENT ON VIEW curves IS 'One row a point of a training curve.';

CREATE VIEW internal.test_predictions AS
SELECT run_id, position, image_sha256, label, predicted, confidence, margin, label_probability
FROM stored.predictions WHERE split = 'test';

CREATE VIEW predictions AS
SELECT
    run_id, position, lower(hex(image_sha256)) AS image_sha256,
    label, predicted, label = predicted AS correct, confidence, margin, label_probability
FROM internal.test_predictions;
COMMENT ON VIEW predictions IS 'One row a test image that a run classified.';

CREATE VIEW selection_predictions AS
SELECT
    run_id, split, fold, position, lower(hex(image_sha256)) AS image_sha256,
    label, predicted, label = predicted AS correct, confidence, margin, label_probability
FROM stored.predictions WHERE split <> 'test';
COMMENT ON VIEW selection_predictions IS 'One row an image to select on: a validation image, classified by the run, or a training image, classified with the settings of the run by a classifier that was fitted without it (held-out shots); runs of earlier versions have none.';

CREATE VIEW splits AS
SELECT DISTINCT
    split_fingerprint, dataset, index_fingerprint, shots, seed, role, position,
    lower(hex(image_sha256)) AS image_sha256, label
FROM stored.splits SEMI JOIN stored.runs USING (split_fingerprint);
COMMENT ON VIEW splits IS 'One row an image of a few-shot split, for training or validation.';

-- The order of the images, which differs between seeds, has no part in a sum. A split that is stored in
-- k files has each of its rows k times. DISTINCT over all rows would take ten times as long.
CREATE VIEW training_sets AS
SELECT
    split_fingerprint, max(position + 1)::INTEGER AS n_images,
    (sum(hash(image_sha256)::HUGEINT) * max(position + 1) // count(*))::VARCHAR AS training_images
FROM stored.splits WHERE role = 'train' GROUP BY split_fingerprint;
COMMENT ON VIEW training_sets IS 'The number of images that each split trains on, and a digest over them: splits of equal digests train on the same images.';

-- One index may be recorded under several names and sources; its images are shown once.
CREATE VIEW images AS
SELECT * REPLACE (lower(hex(image_sha256)) AS image_sha256) FROM stored.images
QUALIFY row_number() OVER (
    PARTITION BY dataset, index_fingerprint, "row" ORDER BY name, source, path
) = 1;
COMMENT ON VIEW images IS 'One row an image of a dataset index.';

CREATE VIEW quarantine AS SELECT DISTINCT * FROM stored.quarantine;
COMMENT ON VIEW quarantine IS 'One row an image file that could not be read.';

CREATE VIEW excluded AS SELECT DISTINCT * FROM stored.excluded;
COMMENT ON VIEW excluded IS 'One row a file that was left out of a dataset index.';

CREATE VIEW extractions AS
SELECT DISTINCT * FROM stored.extractions ORDER BY started_at;
COMMENT ON VIEW extractions IS 'One row an extraction that encoded something, or of a new request that found every feature stored: how many images, by which encoder, in how many seconds.';

CREATE VIEW internal.each_request AS SELECT DISTINCT ON (request_id) * FROM stored.requests;

CREATE VIEW requests AS
FROM internal.each_request ORDER BY dataset, sequence, request_id;
COMMENT ON VIEW requests IS 'One row a request, numbered by dataset; which runs are current follows from them.';
