-- Difference in accuracy of two methods on the same test images, with the interval of clip-adapter compare.
-- $method_a = "clip-adapter": name of the method
-- $method_b = "zero-shot": name of the method that it is compared with
-- $dataset = null: name of a dataset; every one when null
SELECT
    dataset, model, shots, method_a, method_b, len(seeds) AS n_seeds, n_images, accuracy_a, accuracy_b,
    difference, low, high, p_value, verdict
FROM paired
WHERE method_a = $method_a AND method_b = $method_b AND ($dataset IS NULL OR dataset = $dataset)
ORDER BY dataset, model, shots, settings_fingerprint_a, settings_fingerprint_b
