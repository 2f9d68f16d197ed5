"""A shelf: one folder of features of one sort, found again by key."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_cache.errors import FeatureCacheError, WrongSchemaError
from feature_cache.files import list_files, write_table
from feature_cache.locations import Location
from feature_cache.opening import StoredFile, read_footer
from feature_cache.reading import OnDamage, each_file, refuse
from feature_cache.vectors import Features, check_feature_type, copy_rows, feature_type, to_column

__all__ = ["VIEW", "Shelf"]

VIEW = pa.field("view", pa.int16(), nullable=False)

_ROWS_AT_ONCE = 2**16
"""Keys are sought among so many rows at a time: each time costs a look at all that are wanted."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Shelf:
    """The features of one folder; where two files hold the same key, the first by name counts.

    Attributes:
        folder: Its files.
        kind: What they declare to hold.
        key: The column that identifies a feature, together with its view if there are views.
        owner: The encoder whose features they are.
        has_views: Whether features have views.
        on_damage: What to do about a file that cannot be trusted.
    """

    folder: Location
    kind: str
    key: pa.Field
    owner: str
    has_views: bool
    on_damage: OnDamage = refuse

    def append(self, keys: pa.Array, features: Features, *, views: Sequence[int]) -> Location:
        """Write one file: `features [n, d]` under their n keys, which the caller has checked."""
        columns = [keys, to_column(features)]
        fields = [*self._key_schema, pa.field("feature", feature_type(features), nullable=False)]
        if self.has_views:
            columns.insert(1, pa.array(views, pa.int16()))
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        return write_table(self.folder, table, kind=self.kind, owner=self.owner, compression="none")

    def holds(self, keys: pa.Array, *, views: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Which views of the n keys have a feature, as a mask `[len(views), n]`."""
        stored = self.keys()
        held = [self._rows_of(stored, keys, view=view) >= 0 for view in views]
        return np.array(held, np.bool_).reshape(len(views), len(keys))

    def gather(self, keys: pa.Array, *, view: int) -> tuple[Features, npt.NDArray[np.bool_]]:
        """The features `[n, d]` of n keys, and the mask `[n]` of those that were found.

        A row that was not found is undefined. Memory holds the answer and a few files at a time.

        Raises:
            WrongSchemaError: Two files hold features of different width or precision.
        """
        answer, found = np.empty((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)
        at_least = min(len(keys) // 8, _ROWS_AT_ONCE)
        for table in _together(self._each(self._read), at_least=at_least):
            column = table.column("feature")
            if not answer.shape[1]:
                kind = column.type
                answer = np.empty((len(keys), kind.list_size), kind.value_type.to_pandas_dtype())
            _check_alike(column.type, answer, self.folder)
            rows = np.where(found, -1, self._rows_of(table, keys, view=view))
            copy_rows(column, rows, to=answer)
            found |= rows >= 0
        return answer, found

    def feature_type(self) -> pa.DataType | None:
        """The Arrow type of the features as the first file declares it; None on an empty shelf."""
        seen: set[str] = set()
        while fresh := [path for path in list_files(self.folder) if path.name not in seen]:
            for path in fresh:
                seen.add(path.name)
                try:
                    return self._declared_type(path)
                except FileNotFoundError:  # merged into another
                    continue
                except FeatureCacheError as error:
                    self.on_damage(path, error)
        return None

    def keys(self, *, progress: Callable[[int], None] | None = None) -> pa.Table:
        """The key columns of every row, copies included; tells the size of each file it has read."""

        def read(file: StoredFile) -> pa.Table:
            if progress is not None:
                progress(file.size_bytes)
            return file.read_as(self._key_schema)

        found = self._each(read)
        return pa.concat_tables([self._key_schema.empty_table(), *found])

    @property
    def _key_schema(self) -> pa.Schema:
        return pa.schema([self.key, VIEW] if self.has_views else [self.key])

    def _each(self, use: Callable[[StoredFile], _Result]) -> Iterator[_Result]:
        return each_file(
            self.folder, use, kind=self.kind, owner=self.owner, on_damage=self.on_damage
        )

    def _read(self, file: StoredFile) -> pa.Table:
        known = file.read_as(self._key_schema)
        features = file.read(["feature"])
        check_feature_type(features.schema.field(0).type)
        return known.append_column(features.schema.field(0), features.column(0))

    def _declared_type(self, path: Location) -> pa.DataType:
        schema = read_footer(path, kind=self.kind, owner=self.owner)
        kind = schema.field("feature").type if "feature" in schema.names else pa.null()
        check_feature_type(kind)
        return kind

    def _rows_of(self, table: pa.Table, keys: pa.Array, *, view: int) -> npt.NDArray[np.int64]:
        """The row of each key in a file, -1 where the file does not hold it."""
        rows = np.arange(table.num_rows)
        if self.has_views:
            rows = np.flatnonzero(table.column("view").to_numpy() == view)
        stored = table.column(self.key.name).combine_chunks().take(pa.array(rows))
        positions = pc.index_in(keys, value_set=stored).fill_null(-1).to_numpy()
        # The sentinel after the last row turns "not found" into -1 by plain indexing.
        located: npt.NDArray[np.int64] = np.append(rows, -1)[positions]
        return located


def _together(tables: Iterator[pa.Table], *, at_least: int) -> Iterator[pa.Table]:
    """The tables, neighbours of one schema as one, so that keys are not sought file by file."""
    waiting: list[pa.Table] = []
    for table in tables:
        if waiting and table.schema != waiting[0].schema:
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= at_least:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _check_alike(kind: pa.DataType, answer: Features, folder: Location) -> None:
    if kind.list_size != answer.shape[1] or kind.value_type.to_pandas_dtype() != answer.dtype:
        raise WrongSchemaError(
            f"{folder} holds {kind.value_type} features of width {kind.list_size} beside "
            f"{answer.dtype} of width {answer.shape[1]}: delete one of the two sorts"
        )
