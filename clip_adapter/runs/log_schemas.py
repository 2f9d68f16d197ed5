"""The columns of what is only ever added to: requests, promotions, extractions.

Column names are the field names of `RequestRecord`, `PromotionRecord` and `ExtractionRecord`.
"""

import pyarrow as pa


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


REQUESTS = pa.schema(
    [
        _required("request_id", pa.string()),
        _required("sequence", pa.int32()),
        _required("asked_at", pa.timestamp("us", tz="UTC")),
        _required("command", pa.string()),
        _required("dataset", pa.string()),
        pa.field("index_fingerprint", pa.string()),
        pa.field("encoder", pa.string()),
        pa.field("model", pa.string()),
        pa.field("request_fingerprint", pa.string()),
        _required("parameters", pa.string()),
        _required("run_ids", pa.list_(pa.string())),
        _required("run_fingerprints", pa.list_(pa.string())),
        pa.field("git_commit", pa.string()),
    ]
)
"""One row a request about a dataset; see `RequestRecord`."""

PROMOTIONS = pa.schema(
    [
        _required("promotion_id", pa.string()),
        _required("sequence", pa.int32()),
        _required("decided_at", pa.timestamp("us", tz="UTC")),
        _required("dataset", pa.string()),
        _required("index_fingerprint", pa.string()),
        _required("encoder", pa.string()),
        _required("model", pa.string()),
        _required("run_id", pa.string()),
        _required("method", pa.string()),
        _required("shots", pa.int32()),
        pa.field("seed", pa.int32()),
        _required("settings_fingerprint", pa.string()),
        _required("decision", pa.string()),
        _required("reason", pa.string()),
        pa.field("classifier_sha256", pa.string()),
        pa.field("champion_before", pa.string()),
        pa.field("restores", pa.string()),
        _required("n_images", pa.int32()),
        pa.field("accuracy_challenger", pa.float64()),
        pa.field("accuracy_champion", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("p_value", pa.float64()),
        _required("n_relabelled", pa.int32()),
        _required("retraining_fingerprint", pa.string()),
        pa.field("git_commit", pa.string()),
        pa.field("pinned", pa.bool_()),
        pa.field("encoder_spec", pa.string()),
        pa.field("weights_digest", pa.string()),
    ]
)
"""One row a decision on a dataset's champion; see `PromotionRecord`."""

EXTRACTIONS = pa.schema(
    [
        _required("extraction_id", pa.string()),
        _required("started_at", pa.timestamp("us", tz="UTC")),
        _required("dataset", pa.string()),
        _required("index_fingerprint", pa.string()),
        _required("encoder", pa.string()),
        _required("model", pa.string()),
        _required("device", pa.string()),
        _required("n_encoded", pa.int64()),
        _required("n_reused", pa.int64()),
        _required("seconds", pa.float64()),
    ]
)
"""One row an extraction that encoded something."""
