"""A shelf: one folder of features of one sort, found again by key."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_cache.errors import WrongSchemaError
from feature_cache.files import list_files, read_schema, read_table, read_tables, write_table
from feature_cache.schemas import conform
from feature_cache.vectors import Features, check_feature_type, feature_type, from_column, to_column

__all__ = ["Shelf"]

_VIEW = pa.field("view", pa.int16(), nullable=False)


@dataclass(frozen=True)
class Shelf:
    """The features of one folder; where two files hold the same key, the first by name counts.

    Attributes:
        folder: Its files.
        kind: What they declare to hold.
        key: The column that identifies a feature.
        view: The view that is written and read; None on a shelf whose features have no views.
    """

    folder: Path
    kind: str
    key: pa.Field
    view: int | None = None

    def append(self, keys: pa.Array, features: Features) -> Path:
        """Write one file: `features [n, d]` under their n keys, which the caller has checked."""
        columns = [keys, to_column(features)]
        fields = [*self._key_schema(), pa.field("feature", feature_type(features), nullable=False)]
        if self.view is not None:
            columns.insert(1, pa.array(np.full(len(keys), self.view, np.int16)))
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        return write_table(self.folder, table, kind=self.kind, compression="none")

    def holds(self, keys: pa.Array) -> npt.NDArray[np.bool_]:
        """Which of the n keys have a feature, as a mask `[n]`."""
        found = np.zeros(len(keys), dtype=np.bool_)
        for _, rows in self._rows_by_file(keys):
            found |= rows >= 0
        return found

    def gather(self, keys: pa.Array) -> tuple[Features, npt.NDArray[np.bool_]]:
        """The features `[n, d]` of n keys, and the mask `[n]` of those that were found.

        A row that was not found is undefined. Memory holds the answer and one file at a time.

        Raises:
            WrongSchemaError: Two files hold features of different width or precision.
        """
        found = np.zeros(len(keys), dtype=np.bool_)
        answer = self._empty_answer(len(keys))
        for path, rows in self._rows_by_file(keys):
            fresh = (rows >= 0) & ~found
            if fresh.any():
                answer[fresh] = self._features_of(path, answer)[rows[fresh]]
                found |= fresh
        return answer, found

    def feature_type(self) -> pa.DataType | None:
        """The Arrow type of the features, None on an empty shelf."""
        for path in list_files(self.folder)[:1]:
            schema = read_schema(path, kind=self.kind)
            kind = schema.field("feature").type if "feature" in schema.names else pa.null()
            check_feature_type(kind)
            return kind
        return None

    def count(self) -> int:
        """How many distinct keys there are, whatever their view."""
        keys = read_tables(self.folder, kind=self.kind, schema=pa.schema([self.key]))
        return int(pc.count_distinct(keys.column(0)).as_py())

    def _key_schema(self) -> pa.Schema:
        return pa.schema([self.key] if self.view is None else [self.key, _VIEW])

    def _rows_by_file(self, keys: pa.Array) -> Iterator[tuple[Path, npt.NDArray[np.int64]]]:
        for path in list_files(self.folder):
            yield path, self._rows_of(path, keys)

    def _rows_of(self, path: Path, keys: pa.Array) -> npt.NDArray[np.int64]:
        """The row of each key in a file, -1 where the file does not hold it."""
        schema = self._key_schema()
        table = read_table(path, kind=self.kind, columns=schema.names)
        table = conform(table, schema, source=str(path))
        rows = np.arange(table.num_rows)
        if self.view is not None:
            rows = np.flatnonzero(table.column("view").to_numpy() == self.view)
        stored = table.column(self.key.name).combine_chunks().take(pa.array(rows))
        positions = pc.index_in(keys, value_set=stored).fill_null(-1).to_numpy()
        # The sentinel after the last row turns "not found" into -1 by plain indexing.
        located: npt.NDArray[np.int64] = np.append(rows, -1)[positions]
        return located

    def _empty_answer(self, rows: int) -> Features:
        kind = self.feature_type()
        if kind is None:
            return np.empty((rows, 0), dtype=np.float32)
        return np.empty((rows, kind.list_size), dtype=kind.value_type.to_pandas_dtype())

    def _features_of(self, path: Path, answer: Features) -> Features:
        column = read_table(path, kind=self.kind, columns=["feature"]).column(0)
        features = from_column(column)
        if features.shape[1:] != answer.shape[1:] or features.dtype != answer.dtype:
            raise WrongSchemaError(
                f"{path} holds {features.dtype} features of width {features.shape[1]}, the files "
                f"before it {answer.dtype} of width {answer.shape[1]}: delete one of the two sorts"
            )
        return features
