-- Images most like one image, by the cosine of stored features, over all datasets of an encoder.
-- $image: SHA-256 of the image, as image_sha256 in the view images
-- $encoder: fingerprint of the encoder, as in the view extractions
-- $top = 10: number of images
WITH asked AS (
    SELECT coalesce(any_value(feature), error(
        'no image of the digest ' || $image || ' has a feature of this encoder: expected an '
        'image_sha256 of the view images, of an encoded dataset'
    )) AS feature
    FROM features($encoder) WHERE image_sha256 = $image
),
nearest AS (
    SELECT other.image_sha256, array_cosine_similarity(other.feature, asked.feature) AS cosine
    FROM features($encoder) AS other, asked
    WHERE other.image_sha256 <> $image
    ORDER BY cosine DESC, other.image_sha256 LIMIT $top
)
SELECT cosine, image_sha256, list(DISTINCT dataset || '/' || path ORDER BY dataset || '/' || path) AS paths
FROM nearest LEFT JOIN images USING (image_sha256)
GROUP BY cosine, image_sha256
ORDER BY cosine DESC, image_sha256
