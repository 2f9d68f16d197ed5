"""Tables at rest as DuckDB reads them: file after file, each verified before its rows are used."""

from collections.abc import Iterator
from threading import Lock

import pyarrow as pa

from clip_adapter.runs import log_schemas, schemas
from feature_cache import Location, storage
from feature_cache.indexes import EXCLUDED_SCHEMA, QUARANTINE_SCHEMA, STORED_INDEX_SCHEMA
from feature_cache.parquet_file import list_files, open_verified

# `requests` are listed first, then `runs`: whatever run a request names was written before it,
# and the rest of a run before the run.
RUN_TABLES = {
    "requests": log_schemas.REQUESTS,
    "runs": schemas.STORED_RUNS,
    "metrics": schemas.METRICS,
    "curves": schemas.CURVES,
    "predictions": schemas.PREDICTIONS,
    "splits": schemas.SPLITS,
    "promotions": log_schemas.PROMOTIONS,
    "extractions": log_schemas.EXTRACTIONS,
}
"""The columns of every table under `<root>/runs`, by its name."""
_DATASET_TABLES = {
    "images": ("dataset-index", STORED_INDEX_SCHEMA),
    "quarantine": ("dataset-quarantine", QUARANTINE_SCHEMA),
    "excluded": ("dataset-excluded", EXCLUDED_SCHEMA),
}


class StoredTable:
    """A list of files as an Arrow stream (the Arrow PyCapsule interface).

    Nothing is read before a query scans the table, and one file at a time. Every file is compared
    with its digest first, as `feature_cache.parquet_file.read_table` does.

    Args:
        files: The files, in any order.
        kind: What their rows must be.
        schema: The columns of the table; the files may hold more, or lack some that may be null.
        keep: Whether the rows stay in memory for the next scan.

    Attributes:
        failure: Why the last scan ended early; DuckDB passes on no more than its text.
    """

    def __init__(
        self, files: list[Location], *, kind: str, schema: pa.Schema, keep: bool = False
    ) -> None:
        self._files, self._kind, self._schema, self._keep = files, kind, schema, keep
        self._kept: list[pa.RecordBatch] | None = None
        self._lock = Lock()
        self.failure: Exception | None = None

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        reader = pa.RecordBatchReader.from_batches(self._schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._kept_rows() if self._keep else self._rows()
        except Exception as failure:
            self.failure = failure
            raise

    def _rows(self) -> Iterator[pa.RecordBatch]:
        for path in self._files:
            # A dataset's files lie two folders below its name, and say it.
            owner = path.parent.parent.name if self._kind.startswith("dataset-") else ""
            file = open_verified(path, kind=self._kind, owner=owner)
            yield from file.read_as(self._schema).to_batches()

    def _kept_rows(self) -> list[pa.RecordBatch]:
        # One statement may scan a table in several threads at once: the first reads for all.
        with self._lock:
            if self._kept is None:
                self._kept = list(self._rows())
            return self._kept


def stored_tables(root: Location) -> dict[str, StoredTable]:
    """Every table that a lens shows, as of now: files that come later are not seen."""
    tables = {
        name: StoredTable(
            list_files(root / "runs" / name),
            kind=name,
            schema=schema,
            # Every view asks, some repeatedly, which runs there are and who asked for them.
            keep=name in {"runs", "requests"},
        )
        for name, schema in RUN_TABLES.items()
    }
    datasets = [root / "datasets" / name for name in storage.list_folders(root / "datasets")]
    for name, (kind, schema) in _DATASET_TABLES.items():
        files = [path for folder in datasets for path in list_files(folder / name)]
        tables[name] = StoredTable(files, kind=kind, schema=schema)
    return tables
