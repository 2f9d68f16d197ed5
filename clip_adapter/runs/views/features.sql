-- Stored image features. Each encoder has a table `stored."features_<fingerprint>"`, whose files are read by
-- a statement that uses it, and by no other. It has no augmented views, and an image whose feature is in
-- two files twice.

-- The images with the largest cosine with an image, itself included, by stored features; the digest and the
-- fingerprint of the encoder are in hex. Equal cosines are in the order of the digests. A digest without a
-- feature is an error.
CREATE MACRO similar_images(digest, encoder, top := 20) AS TABLE
WITH asked AS (
    SELECT coalesce(any_value(feature)::DOUBLE[], error(
        'no image of the digest ' || digest || ' has a feature of this encoder: expected an '
        'image_sha256 of the view images, of an encoded dataset'
    )) AS query
    FROM query_table('stored.features_' || encoder) WHERE image_sha256 = unhex(digest)
)
SELECT
    lower(hex(image_sha256)) AS image_sha256,
    max(list_cosine_similarity(feature::DOUBLE[], query)) AS cosine
FROM query_table('stored.features_' || encoder), asked
GROUP BY ALL HAVING isfinite(cosine)
ORDER BY cosine DESC, image_sha256 LIMIT top;

-- A digest in two files has equal features.
CREATE MACRO features(encoder) AS TABLE
SELECT DISTINCT ON (image_sha256) lower(hex(image_sha256)) AS image_sha256, feature
FROM query_table('stored.features_' || encoder)
ORDER BY image_sha256;
COMMENT ON MACRO TABLE features IS 'The raw features of all images of an encoder, as FLOAT[d]; the fingerprint of the encoder is in hex, as in the view extractions.';
COMMENT ON MACRO TABLE similar_images IS 'The images with the largest cosine with an image, itself included, by stored features.';
