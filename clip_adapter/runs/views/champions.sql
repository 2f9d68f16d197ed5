-- Decisions on the champion of each dataset.

CREATE VIEW promotions AS
SELECT DISTINCT * FROM stored.promotions
ORDER BY dataset, sequence, decided_at, promotion_id;
COMMENT ON VIEW promotions IS 'Every decision on the champion of a dataset, with its numbers.';

CREATE VIEW champion AS
SELECT * FROM promotions WHERE decision <> 'refused'
QUALIFY row_number() OVER (
    PARTITION BY dataset ORDER BY sequence DESC, decided_at DESC, promotion_id DESC
) = 1
ORDER BY dataset;
COMMENT ON VIEW champion IS 'The last decision that set a champion, for each dataset; SQL reads no files of classifiers, so that one whose file is damaged is included.';
