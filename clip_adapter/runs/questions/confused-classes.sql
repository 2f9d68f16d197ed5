-- Classes whose images every method gives to the same other class, by the smallest share of a method.
-- $dataset = null: name of a dataset; every one when null
-- $top = 20: number of rows
WITH shares AS (
    SELECT
        dataset, model, encoder, method, class_name, predicted_name, sum(n) AS n,
        sum(n) / sum(sum(n)) OVER (PARTITION BY dataset, encoder, method, class_name) AS share
    FROM confusion GROUP BY dataset, model, encoder, method, class_name, predicted_name
),
methods AS (SELECT dataset, encoder, count(DISTINCT method) AS n_methods FROM confusion GROUP BY ALL)
SELECT
    dataset, model, class_name, predicted_name, min(share) AS share_min, avg(share ORDER BY method) AS share_mean,
    sum(n) AS n, n_methods
FROM shares JOIN methods USING (dataset, encoder)
WHERE class_name <> predicted_name AND ($dataset IS NULL OR dataset = $dataset)
GROUP BY dataset, model, encoder, class_name, predicted_name, n_methods
HAVING count(*) = n_methods
ORDER BY share_min DESC, dataset, class_name, predicted_name
LIMIT $top
