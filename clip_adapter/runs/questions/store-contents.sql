-- Files, rows and bytes of the store, by kind, dataset and encoder.
SELECT
    kind, dataset, any_value(model) AS model, encoder, count(*)::INTEGER AS n_files, sum(n_rows) AS n_rows,
    sum(n_bytes) AS n_bytes
FROM files LEFT JOIN (
    SELECT encoder, arg_max(model, started_at) AS model FROM extractions GROUP BY encoder
) USING (encoder)
GROUP BY kind, dataset, encoder
ORDER BY kind, dataset, encoder
