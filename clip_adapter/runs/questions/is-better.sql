-- Difference in accuracy of two methods on the same test images, as clip-adapter compare; the p-values of all rows are corrected together.
-- $method_a = "clip-adapter": name of the method
-- $method_b = "zero-shot": name of the method that it is compared with
-- $dataset = null: name of a dataset; every one when null
-- $shots = null: training images a class; every number when null
WITH ranked AS (
    SELECT *, count(*) OVER () + 1 - row_number() OVER (ORDER BY p_value) AS n_not_smaller
    FROM paired
    WHERE method_a = $method_a AND method_b = $method_b AND ($dataset IS NULL OR dataset = $dataset)
        AND ($shots IS NULL OR shots = $shots)
),
-- Holm's method (1979), over the rows that are shown.
adjusted AS (
    SELECT *, least(1.0, max(n_not_smaller * p_value) OVER (
        ORDER BY n_not_smaller DESC ROWS UNBOUNDED PRECEDING
    )) AS adjusted_p_value
    FROM ranked
)
SELECT
    dataset, model, shots, method_a, method_b, len(seeds) AS n_seeds, n_images, accuracy_a, accuracy_b,
    difference, low, high, p_value, adjusted_p_value,
    CASE
        WHEN adjusted_p_value >= 0.05 THEN 'no difference shown'
        WHEN difference > 0 THEN 'ahead'
        ELSE 'behind'
    END AS verdict
FROM adjusted
ORDER BY dataset, model, shots, settings_fingerprint_a, settings_fingerprint_b
