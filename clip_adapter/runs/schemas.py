"""The columns of every table below `<root>/runs`.

A column has the name of a field of the record that a row is made from: `RunRecord`,
`RequestRecord`, `PromotionRecord` or `ExtractionRecord`. A column that may be null is declared so
here, and its field is optional.
"""

from typing import Any

import pyarrow as pa

from feature_cache.parquet_file import VerifiedFile


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


SETTINGS = pa.struct(
    [
        ("residual_ratio", pa.float64()),
        ("reduction", pa.int32()),
        ("output_activation", pa.bool_()),
        ("epochs", pa.int32()),
        ("learning_rate", pa.float64()),
        ("batch_size", pa.int32()),
        ("weight_decay", pa.float64()),
        ("optimizer", pa.string()),
        ("inverse_regularization", pa.float64()),
        ("recipe", pa.string()),
        ("momentum", pa.float64()),
        ("views", pa.int32()),
        ("branch", pa.string()),
        ("text_residual_ratio", pa.float64()),
        ("ratio_mode", pa.string()),
        ("prompts", pa.string()),
        ("alpha", pa.float64()),
        ("beta", pa.float64()),
        ("n_context", pa.int32()),
        ("class_position", pa.string()),
        ("class_specific", pa.bool_()),
        ("context_init", pa.string()),
        ("alpha_every", pa.int32()),
        ("initial_alpha", pa.float64()),
        ("initial_beta", pa.float64()),
        ("max_iterations", pa.int32()),
        ("refinements", pa.int32()),
    ]
)
"""Hyper-parameters as finally used; null where a method has no such setting."""

_CANDIDATE = pa.struct(
    [
        ("name", pa.string()),
        ("value", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("validation_nll", pa.float64()),
    ]
)

_TRIED = pa.struct(
    [
        ("settings", pa.map_(pa.string(), pa.float64())),
        ("validation_accuracy", pa.float64()),
        ("validation_nll", pa.float64()),
    ]
)
"""One point of a grid; earlier runs have `candidates` of one hyper-parameter each instead."""

_VERSIONS = pa.struct(
    [(name, pa.string()) for name in ("clip_adapter", "python", "torch", "open_clip", "numpy")]
)

_TESTED_ON = pa.struct(
    [("dataset", pa.string()), ("class_subset", pa.string()), ("index_fingerprint", pa.string())]
)

RUNS = pa.schema(
    [
        _required("run_id", pa.string()),
        _required("fingerprint", pa.string()),
        _required("sweep_id", pa.string()),
        _required("started_at", pa.timestamp("us", tz="UTC")),
        _required("dataset", pa.string()),
        _required("index_fingerprint", pa.string()),
        _required("split_fingerprint", pa.string()),
        _required("class_names", pa.list_(pa.string())),
        _required("templates", pa.list_(pa.string())),
        _required("model", pa.string()),
        _required("encoder", pa.string()),
        _required("logit_scale", pa.float64()),
        _required("method", pa.string()),
        _required("shots", pa.int32()),
        pa.field("seed", pa.int32()),
        _required("settings", SETTINGS),
        _required("settings_fingerprint", pa.string()),
        pa.field("tried", pa.list_(_TRIED)),
        pa.field("study", pa.string()),
        _required("selected_on", pa.string()),
        _required("status", pa.string()),
        pa.field("error", pa.string()),
        _required("seconds_encode", pa.float64()),
        _required("seconds_train", pa.float64()),
        _required("peak_memory_bytes", pa.int64()),
        _required("n_train", pa.int32()),
        _required("n_validation", pa.int32()),
        _required("n_test", pa.int32()),
        _required("n_leaked", pa.int32()),
        _required("device", pa.string()),
        _required("precision", pa.string()),
        _required("versions", _VERSIONS),
        pa.field("git_commit", pa.string()),
        pa.field("hyperparameters", pa.map_(pa.string(), pa.string())),
        pa.field("image_choice", pa.string()),
        pa.field("selection", pa.string()),
        pa.field("logit_bias", pa.float64()),
        pa.field("protocol", pa.string()),
        pa.field("tested_on", _TESTED_ON),
        pa.field("class_prompts", pa.list_(pa.list_(pa.string()))),
    ]
)
"""One row an execution of a method. A run counts as recorded once its row here is complete."""

STORED_RUNS = RUNS.append(pa.field("candidates", pa.list_(_CANDIDATE)))
"""Columns of a file of runs; earlier versions wrote `candidates` instead of `tried`."""


def read_runs_file(file: VerifiedFile) -> pa.Table:
    """Read a file of runs of any version as `RUNS`; earlier ones wrote `candidates` instead of `tried`.

    Raises:
        WrongSchemaError: a column has another type, or is missing and not nullable.
        CorruptFileError: the rows cannot be decoded.
    """
    table = file.read_as(STORED_RUNS)
    if table.column("candidates").null_count < table.num_rows:
        tried = table.column("tried").to_pylist()
        for row, candidates in enumerate(table.column("candidates").to_pylist()):
            if tried[row] is None and candidates is not None:
                tried[row] = list(map(_as_tried, candidates))
        place = table.schema.get_field_index("tried")
        table = table.set_column(
            place, RUNS.field("tried"), pa.array(tried, RUNS.field("tried").type)
        )
    return table.select(RUNS.names)


def read_predictions_file(file: VerifiedFile) -> pa.Table:
    """Read a file of predictions of any version; earlier ones are of test images, without saying so.

    Raises:
        WrongSchemaError: a column has another type, or is missing and not nullable.
        CorruptFileError: the rows cannot be decoded.
    """
    table = file.read_as(PREDICTIONS)
    split = PREDICTIONS.get_field_index("split")
    return table.set_column(split, PREDICTIONS.field(split), table.column(split).fill_null("test"))


def _as_tried(candidate: dict[str, Any]) -> dict[str, Any]:
    return {
        "settings": [(candidate.pop("name"), candidate.pop("value"))],
        **candidate,
    }


METRICS = pa.schema(
    [
        _required("run_id", pa.string()),
        _required("split", pa.string()),
        _required("name", pa.string()),
        _required("value", pa.float64()),
    ]
)
"""One row a number; `accuracy` is a fraction, `nll` is in nats."""

CURVES = pa.schema(
    [
        _required("run_id", pa.string()),
        _required("step", pa.int32()),
        _required("name", pa.string()),
        _required("value", pa.float64()),
    ]
)
"""One row a point; `step` counts a curve's points from 0."""

PREDICTIONS = pa.schema(
    [
        _required("run_id", pa.string()),
        # A split may hold one image twice; its place tells the two predictions apart.
        _required("position", pa.int32()),
        _required("image_sha256", pa.binary(32)),
        _required("label", pa.int32()),
        _required("predicted", pa.int32()),
        _required("confidence", pa.float32()),
        _required("margin", pa.float32()),
        pa.field("split", pa.string()),
        pa.field("fold", pa.int32()),
        pa.field("label_probability", pa.float32()),
    ]
)
"""One row per image that a run classified, `position` counting those of a split and fold from 0.

Earlier versions recorded test images alone and have no `split`.
"""

SPLITS = pa.schema(
    [
        _required("split_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("index_fingerprint", pa.string()),
        _required("shots", pa.int32()),
        _required("seed", pa.int32()),
        _required("role", pa.string()),
        _required("position", pa.int32()),
        _required("image_sha256", pa.binary(32)),
        _required("label", pa.int32()),
    ]
)
"""One row an image of a few-shot split, `position` counting the images of a `role` from 0."""

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
"""One row an extraction that encoded something, or of a new request that reused every feature."""

# A reader lists the files of `requests` first and then those of `runs`: the runs that a request
# names were written before it, and the other rows of a run before its row in `runs`.
RUN_TABLES = {
    "requests": REQUESTS,
    "runs": STORED_RUNS,
    "metrics": METRICS,
    "curves": CURVES,
    "predictions": PREDICTIONS,
    "splits": SPLITS,
    "promotions": PROMOTIONS,
    "extractions": EXTRACTIONS,
}
"""The columns of every table below `<root>/runs`, by its name."""
