-- Images that were encoded and not encoded, and the hours that this took and saved, by dataset and in all.
SELECT
    CASE WHEN grouping(dataset) = 1 THEN 'all' ELSE dataset END AS dataset, model,
    sum(n_encoded) AS n_encoded, sum(n_reused) AS n_reused,
    sum(hours_encoded) AS hours_encoded, sum(hours_saved) AS hours_saved
FROM costs
GROUP BY GROUPING SETS ((dataset, model, encoder), ())
ORDER BY grouping(dataset), dataset, model
