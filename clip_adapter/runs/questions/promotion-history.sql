-- Every decision on the champion of a dataset, the latest first: who, since when, on which evidence.
-- $dataset = null: name of a dataset; every one when null
SELECT dataset, decided_at, decision, method, accuracy_challenger, accuracy_champion, p_value, n_images
FROM promotions
WHERE $dataset IS NULL OR dataset = $dataset
ORDER BY dataset, sequence DESC
