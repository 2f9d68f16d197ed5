"""A shelf: one folder of features of one sort, found again by key."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache.errors import FeatureCacheError, ObjectStoreError, WrongSchemaError
from feature_cache.files import list_files, write_table
from feature_cache.parquet_file import VerifiedFile, read_footer
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, each_file, raise_on_corruption
from feature_cache.vectors import Features, check_feature_type, copy_rows, feature_type, to_column

VIEW = pa.field("view", pa.int16(), nullable=False)

_ROWS_AT_ONCE = 2**16
"""Keys are sought among so many rows at a time: each time costs a look at all that are wanted."""

_BYTES_AT_ONCE = 2**22
"""Decoded and copied while in the processor's caches; large buffers cost more than the work."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FeatureTable:
    """The features of one folder; where two files hold the same key, the first by name counts.

    Attributes:
        folder: Its files.
        kind: What they declare to hold.
        key: The column that identifies a feature, together with its view if there are views.
        owner: The encoder whose features they are.
        has_views: Whether features have views.
        on_corruption: What to do about a file that cannot be trusted.
    """

    folder: Location
    kind: str
    key: pa.Field
    owner: str
    has_views: bool
    on_corruption: OnCorruption = raise_on_corruption

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
            WrongSchemaError: Two files hold features of different width or precision. By way of
                `on_corruption`, and about the second of them.
        """
        answer, found = np.empty((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)
        at_least = min(len(keys) // 8, _ROWS_AT_ONCE)
        for files in _together(self._each(self._with_keys), at_least=at_least):
            if not answer.shape[1]:
                kind = files[0][0].schema.field("feature").type
                answer = np.empty((len(keys), kind.list_size), kind.value_type.to_pandas_dtype())
            stored = pa.concat_tables([each for _, each in files])
            rows, places = self._places_of(stored, keys, np.flatnonzero(~found), view=view)
            start = 0
            for file, own in files:
                part = slice(*np.searchsorted(rows, [start, start + own.num_rows]))
                if self._copied(file, rows[part] - start, places[part], to=answer):
                    found[places[part]] = True
                start += own.num_rows
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
                except ObjectStoreError:  # says nothing about the file
                    raise
                except FeatureCacheError as error:
                    self.on_corruption(path, error)
        return None

    def keys(self, *, progress: Callable[[int], None] | None = None) -> pa.Table:
        """The key columns of every row, copies included; tells the size of each file it has read."""

        def read(file: VerifiedFile) -> pa.Table:
            if progress is not None:
                progress(file.size_bytes)
            return file.read_as(self._key_schema)

        found = self._each(read)
        return pa.concat_tables([self._key_schema.empty_table(), *found])

    @property
    def _key_schema(self) -> pa.Schema:
        return pa.schema([self.key, VIEW] if self.has_views else [self.key])

    def _each(self, use: Callable[[VerifiedFile], _Result]) -> Iterator[_Result]:
        return each_file(
            self.folder, use, kind=self.kind, owner=self.owner, on_corruption=self.on_corruption
        )

    def _with_keys(self, file: VerifiedFile) -> tuple[VerifiedFile, pa.Table]:
        file.check_has("feature")
        check_feature_type(file.schema.field("feature").type)
        return file, file.read_as(self._key_schema)

    def _copied(
        self,
        file: VerifiedFile,
        rows: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        *,
        to: Features,
    ) -> bool:
        """Whether the rows of a file could be copied to their places."""
        try:
            _check_alike(file, to)
            if len(rows):
                at_a_time = max(1, _BYTES_AT_ONCE // to[:1].nbytes)
                copy_rows(file.read_in_parts("feature", rows=at_a_time), rows, places, to=to)
        except FeatureCacheError as error:
            self.on_corruption(file.path, error)
            return False
        return True

    def _declared_type(self, path: Location) -> pa.DataType:
        schema = read_footer(path, kind=self.kind, owner=self.owner)
        kind = schema.field("feature").type if "feature" in schema.names else pa.null()
        check_feature_type(kind)
        return kind

    def _places_of(
        self, table: pa.Table, keys: pa.Array, places: npt.NDArray[np.int64], *, view: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The rows that are sought at some places of the keys, ascending, each with its place."""
        rows = self._rows_of(table, keys.take(pa.array(places)), view=view)
        held = np.flatnonzero(rows >= 0)
        order = held[np.argsort(rows[held], kind="stable")]
        return rows[order], places[order]

    def _rows_of(self, table: pa.Table, keys: pa.Array, *, view: int) -> npt.NDArray[np.int64]:
        """The row of each key in a file, -1 where the file does not hold it."""
        rows = np.arange(table.num_rows)
        if self.has_views:
            rows = np.flatnonzero(table.column("view").to_numpy() == view)
        stored = table.column(self.key.name).combine_chunks().take(pa.array(rows))
        import pyarrow.compute as pc  # noqa: PLC0415  # 0.1 s, for whoever computes

        positions = pc.index_in(keys, value_set=stored).fill_null(-1).to_numpy()
        # The sentinel after the last row turns "not found" into -1 by plain indexing.
        located: npt.NDArray[np.int64] = np.append(rows, -1)[positions]
        return located


def _together(
    files: Iterator[tuple[VerifiedFile, pa.Table]], *, at_least: int
) -> Iterator[list[tuple[VerifiedFile, pa.Table]]]:
    """Neighbours with so many rows together, so that keys are not sought file by file."""
    waiting: list[tuple[VerifiedFile, pa.Table]] = []
    n_rows = 0
    for file, keys in files:
        waiting.append((file, keys))
        n_rows += keys.num_rows
        if n_rows >= at_least:
            yield waiting
            waiting, n_rows = [], 0
    if waiting:
        yield waiting


def _check_alike(file: VerifiedFile, answer: Features) -> None:
    kind = file.schema.field("feature").type
    if kind.list_size != answer.shape[1] or kind.value_type.to_pandas_dtype() != answer.dtype:
        raise WrongSchemaError(
            f"{file.path} holds {kind.value_type} features of width {kind.list_size}, the files "
            f"before it {answer.dtype} of width {answer.shape[1]}: delete one of the two sorts"
        )
