"""What SQL over a store needs of Python: paired differences as a function, and the list of files."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from clip_adapter.runs.paired import paired_difference
from feature_cache import (
    Location,
    classifier_folders,
    is_content,
    list_file_entries,
    storage,
    stored_folders,
)
from feature_cache.parquet_file import count_rows

if TYPE_CHECKING:
    import duckdb

_PAIRED = (
    "STRUCT(n_images INTEGER, accuracy_a DOUBLE, accuracy_b DOUBLE, difference DOUBLE, low DOUBLE, "
    "high DOUBLE, p_value DOUBLE, verdict VARCHAR, wins INTEGER, losses INTEGER, "
    "seed_differences DOUBLE[], same_training_images BOOLEAN)"
)
FILES_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string()),
        pa.field("dataset", pa.string()),
        pa.field("encoder", pa.string()),
        pa.field("path", pa.string()),
        pa.field("n_rows", pa.int64()),
        pa.field("n_bytes", pa.int64()),
    ]
)


def add_functions(connection: "duckdb.DuckDBPyConnection") -> None:
    """Make the SQL function `paired_difference(correct_a, correct_b, same_training_images)`.

    The first two are lists with a list of BOOLEAN for each seed; see `clip_adapter.runs.paired_difference`.
    """
    connection.create_function(
        "paired_difference", _paired, ["BOOLEAN[][]", "BOOLEAN[][]", "BOOLEAN"], _PAIRED
    )


def files_table(root: Location, *, is_stopped: Callable[[], bool] = lambda: False) -> pa.Table:
    """The complete files of a store: kind, dataset or encoder, path below the root, rows and bytes.

    Files are listed and their ends are read; their content is not verified.

    Args:
        root: location of the store.
        is_stopped: whether to stop before the next file.

    Raises:
        InterruptedError: it is to stop.
        FileNotFoundError: a file vanished that was listed.
    """
    rows: list[dict[str, Any]] = []
    for folder in stored_folders(root):
        owner = "encoder" if folder.has_features or folder.kind == "encoder" else "dataset"
        for entry in list_file_entries(folder.path):
            if is_stopped():
                raise InterruptedError
            path = folder.path / entry.name
            described = {"kind": folder.kind, owner: folder.owner or None, "path": path}
            rows.append(described | {"n_rows": count_rows(path), "n_bytes": entry.size_bytes})
    for classifiers in classifier_folders(root):
        for entry in storage.list_entries(classifiers):
            if is_content(entry.name):
                path = classifiers / entry.name
                described = {"kind": "classifier", "dataset": classifiers.name, "path": path}
                rows.append(described | {"n_bytes": entry.size_bytes})
    below = len(str(root)) + 1
    return pa.Table.from_pylist(
        [row | {"path": str(row["path"])[below:]} for row in rows], schema=FILES_SCHEMA
    )


def _paired(
    correct_a: list[list[bool]],
    correct_b: list[list[bool]],
    same: bool,  # noqa: FBT001  # DuckDB calls it by position
) -> dict[str, object]:
    found = paired_difference(
        np.array(correct_a, dtype=bool), np.array(correct_b, dtype=bool), same_training_images=same
    )
    names = (
        *("n_images", "accuracy_a", "accuracy_b", "difference", "low", "high", "p_value"),
        *("verdict", "wins", "losses", "same_training_images"),
    )
    return {name: getattr(found, name) for name in names} | {
        "seed_differences": list(found.seed_differences)
    }
