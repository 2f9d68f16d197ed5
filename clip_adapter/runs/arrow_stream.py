"""Stored tables as Arrow streams: DuckDB reads them file by file, each verified first."""

from collections.abc import Iterator
from threading import Lock

import numpy as np
import pyarrow as pa

from feature_cache import FeatureStore, Location
from feature_cache.feature_table import VIEW, from_column
from feature_cache.features import IMAGE
from feature_cache.parquet_file import VerifiedFile, open_verified
from feature_cache.reading import each_file


class ArrowStream:
    """The rows of Parquet files as an Arrow stream (the Arrow PyCapsule interface).

    Nothing is read before a query scans the stream, and then one file at a time. Each file is
    compared with its digest first, as `feature_cache.read_table` does.

    Args:
        files: files of the table, in any order.
        kind: kind of table that every file must hold.
        schema: columns of the table; a file may hold more, or lack some that may be null.
        keep: keep the rows in memory for the next scan.

    Attributes:
        failure: the error that ended the last scan; DuckDB passes on only its text.
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
            # Files of a dataset lie two folders below its name, and contain that name.
            owner = path.parent.parent.name if self._kind.startswith("dataset-") else ""
            file = open_verified(path, kind=self._kind, owner=owner)
            yield from file.read_as(self._schema).to_batches()

    def _kept_rows(self) -> list[pa.RecordBatch]:
        # One statement may scan a table in several threads at once: the first reads for all.
        with self._lock:
            if self._kept is None:
                self._kept = list(self._rows())
            return self._kept


class FeatureStream(ArrowStream):
    """The image features of one encoder as an Arrow stream, without augmented views.

    Not even the folder is listed before a query scans the stream. An image whose feature is in two
    files occurs twice.

    Args:
        store: features of the encoder.
    """

    schema = pa.schema([IMAGE, pa.field("feature", pa.list_(pa.float32()), nullable=False)])

    def __init__(self, store: FeatureStore) -> None:
        super().__init__([], kind="image-features", schema=self.schema)
        self._store = store

    def _rows(self) -> Iterator[pa.RecordBatch]:
        tables = each_file(
            self._store.folder / "image",
            self._features_of,
            kind="image-features",
            owner=self._store.encoder,
        )
        for table in tables:
            yield from table.to_batches()

    def _features_of(self, file: VerifiedFile) -> pa.Table:
        """The features of the evaluation view in a file, in float32."""
        keys = file.read_as(pa.schema([IMAGE, VIEW]))
        rows = np.flatnonzero(keys.column("view").to_numpy() == 0)
        features = from_column(file.read(["feature"]).column(0))[rows]
        # Lists of any length: the width of an encoder is not known before its files are read.
        offsets = pa.array(np.arange(len(rows) + 1) * features.shape[1], pa.int32())
        lists = pa.ListArray.from_arrays(offsets, pa.array(features.astype(np.float32).ravel()))
        digests = keys.column("image_sha256").take(pa.array(rows))
        return pa.Table.from_arrays([digests, lists], schema=self.schema)
