-- Images that occur in more than one dataset or split, by their content, and how many runs trained on a test image.
SELECT image_sha256, dataset, split, path, class_name, n_places, n_runs_trained
FROM leaks
ORDER BY image_sha256, dataset, split
