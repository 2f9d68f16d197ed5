-- Mean accuracy and mean seconds of training of every method, and accuracy per second, by number of shots.
-- $dataset = null: name of a dataset; every one when null
SELECT
    dataset, model, method, shots, accuracy_mean, accuracy_ci95, seconds_train_mean,
    accuracy_mean / nullif(seconds_train_mean, 0) AS accuracy_per_second,
    settings_fingerprint, image_choice
FROM leaderboard
WHERE $dataset IS NULL OR dataset = $dataset
ORDER BY dataset, model, shots, accuracy_per_second DESC NULLS LAST, method, settings_fingerprint, image_choice
