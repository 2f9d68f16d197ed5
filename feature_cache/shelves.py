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
from feature_cache.vectors import Features, check_feature_type, feature_type, from_column, to_column

__all__ = ["VIEW", "Shelf"]

VIEW = pa.field("view", pa.int16(), nullable=False)

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
        found = np.zeros((len(views), len(keys)), dtype=np.bool_)
        for table in self._each(lambda file: file.read_as(self._key_schema)):
            for place, view in enumerate(views):
                found[place] |= self._rows_of(table, keys, view=view) >= 0
        return found

    def gather(self, keys: pa.Array, *, view: int) -> tuple[Features, npt.NDArray[np.bool_]]:
        """The features `[n, d]` of n keys, and the mask `[n]` of those that were found.

        A row that was not found is undefined. Memory holds the answer and a few files at a time.

        Raises:
            WrongSchemaError: Two files hold features of different width or precision.
        """
        answer, found = np.empty((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)
        for rows, features, path in self._each(lambda file: self._find(file, keys, view=view)):
            if not answer.shape[1]:
                answer = np.empty((len(keys), features.shape[1]), features.dtype)
            _check_alike(features, answer, path)
            fresh = (rows >= 0) & ~found
            if fresh.all():
                np.take(features, rows, axis=0, out=answer)
            elif fresh.any():
                answer[fresh] = features[rows[fresh]]
            found |= fresh
        return answer, found

    def feature_type(self) -> pa.DataType | None:
        """The Arrow type of the features as the first file declares it; None on an empty shelf."""
        for path in list_files(self.folder):
            try:
                schema = read_footer(path, kind=self.kind, owner=self.owner)
            except FileNotFoundError:  # merged into another file, which comes later or was read
                continue
            except FeatureCacheError as error:
                self.on_damage(path, error)
                continue
            kind = schema.field("feature").type if "feature" in schema.names else pa.null()
            check_feature_type(kind)
            return kind
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

    def _find(
        self, file: StoredFile, keys: pa.Array, *, view: int
    ) -> tuple[npt.NDArray[np.int64], Features, Location]:
        rows = self._rows_of(file.read_as(self._key_schema), keys, view=view)
        return rows, from_column(file.read(["feature"]).column(0)), file.path

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


def _check_alike(features: Features, answer: Features, path: Location) -> None:
    if features.shape[1:] != answer.shape[1:] or features.dtype != answer.dtype:
        raise WrongSchemaError(
            f"{path} holds {features.dtype} features of width {features.shape[1]}, the files "
            f"before it {answer.dtype} of width {answer.shape[1]}: delete one of the two sorts"
        )
