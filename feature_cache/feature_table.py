"""Feature matrices as Arrow columns, and the table of features in one folder."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_cache.errors import FILE_ERRORS, InvalidInputError, WrongSchemaError
from feature_cache.parquet_file import VerifiedFile, list_files, read_footer, write_table
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, each_file, raise_on_corruption

Features = npt.NDArray[np.floating[Any]]
"""Matrix `[n, d]` of float32 or float16 with one feature in each row."""

VIEW = pa.field("view", pa.int16(), nullable=False)

_PRECISIONS = (np.dtype(np.float32), np.dtype(np.float16))

_ROWS_AT_ONCE = 2**16
"""Rows of files that are searched together: every search passes over all requested keys."""

_BYTES_AT_ONCE = 2**22
"""Size of the parts that are decoded and copied: they fit into the processor's caches."""

_Result = TypeVar("_Result")


def check_features(features: Features, *, rows: int) -> None:
    """Check that a matrix can be stored as `rows` features.

    Raises:
        InvalidInputError: the shape is not `[rows, d]` with d >= 1, the element type is neither
            float32 nor float16, or an element is infinite or NaN.
    """
    if features.ndim != 2 or len(features) != rows or features.shape[1] == 0:
        raise InvalidInputError(
            f"features have shape {list(features.shape)}, expected [{rows}, d]: one row a key"
        )
    if features.dtype not in _PRECISIONS:
        raise InvalidInputError(
            f"features are {features.dtype}, expected float32 or float16: convert them first"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise InvalidInputError(
            f"{bad.size} of {rows} features are not finite, the first is row {bad[0]}: "
            "the encoder overflowed or its weights are damaged; nothing was written"
        )


def feature_type(features: Features) -> pa.DataType:
    """Return the Arrow type of one row of a matrix `[n, d]`: a list of d floats, none null."""
    element = pa.field("element", pa.from_numpy_dtype(features.dtype), nullable=False)
    return pa.list_(element, features.shape[1])


def to_column(features: Features) -> pa.Array:
    """Convert a matrix `[n, d]` to an Arrow array of n lists, without a copy where possible."""
    values = pa.array(np.ascontiguousarray(features).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(values, type=feature_type(features))


def from_column(column: pa.ChunkedArray) -> Features:
    """Convert an Arrow column of n lists to a read-only matrix `[n, d]`, which may share memory.

    Raises:
        WrongSchemaError: the column is not a fixed-size list of float32 or float16, or a row is
            null.
    """
    _check_feature_type(column.type)
    if column.null_count:
        raise WrongSchemaError(f"{column.null_count} of {len(column)} stored features are null")
    # combine_chunks() would copy even a single chunk.
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    # flatten(), unlike .values, respects that an array may be a slice of a longer one.
    matrix: Features = lists.flatten().to_numpy(zero_copy_only=True)
    return matrix.reshape(len(lists), column.type.list_size)


@dataclass(frozen=True)
class FeatureTable:
    """Features in the files of one folder; if two files have the same key, the first by name counts.

    Attributes:
        folder: folder of the files.
        kind: kind that the files declare.
        key: column that identifies a feature, together with its view if there are views.
        owner: fingerprint of the encoder.
        has_views: whether features have views.
        on_corruption: handler of a file that cannot be used.
    """

    folder: Location
    kind: str
    key: pa.Field
    owner: str
    has_views: bool
    on_corruption: OnCorruption = raise_on_corruption

    def append(self, keys: pa.Array, features: Features, *, views: Sequence[int]) -> Location:
        """Write features `[n, d]` and their n keys, all of them checked, as one file."""
        columns = [keys, to_column(features)]
        fields = [*self._key_schema, pa.field("feature", feature_type(features), nullable=False)]
        if self.has_views:
            columns.insert(1, pa.array(views, pa.int16()))
        table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        return write_table(self.folder, table, kind=self.kind, owner=self.owner, compression="none")

    def holds(self, keys: pa.Array, *, views: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return which views of the n keys have a feature, as a mask `[len(views), n]`."""
        stored = self.keys()
        held = [self._rows_of(stored, keys, view=view) >= 0 for view in views]
        return np.array(held, np.bool_).reshape(len(views), len(keys))

    def gather(self, keys: pa.Array, *, view: int) -> tuple[Features, npt.NDArray[np.bool_]]:
        """Read the features `[n, d]` of n keys, with the mask `[n]` of those that were found.

        A row that was not found is undefined. Memory holds the result and a few files at a time.

        Raises:
            WrongSchemaError: two files have features of different width or precision, and
                `on_corruption` raised the error about the second of them.
        """
        result, found = np.empty((len(keys), 0), np.float32), np.zeros(len(keys), np.bool_)
        for file, rows, places in self._with_rows(keys, found, view=view):
            if not result.shape[1]:
                result = _rows_like(file, len(keys))
            if self._copied(file, rows, places, to=result):
                found[places] = True
        return result, found

    def blocks(
        self, keys: pa.Array, *, view: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
        """Yield the stored features of n keys a few MiB at a time, in the order of the files.

        A key without a feature is left out. Memory holds a block and a few files at a time.

        Returns:
            Pairs of places in `keys`, `[m]`, and the features there, `[m, d]`.

        Raises:
            WrongSchemaError: two files have features of different width or precision.
            CorruptFileError: the rows of a file cannot be decoded.
        """
        found, first = np.zeros(len(keys), np.bool_), np.empty((0, 0), np.float32)
        for file, rows, places in self._with_rows(keys, found, view=view):
            if not first.shape[1]:
                first = _rows_like(file, 0)
            _check_same_type(file, first)
            found[places] = True
            if len(rows):
                parts = file.read_in_parts("feature", rows=_rows_at_a_time(first))
                yield from _blocks(parts, rows, places)

    def feature_type(self) -> pa.DataType | None:
        """Return the Arrow type of features that the first file declares; None without a file."""
        seen: set[str] = set()
        while fresh := [path for path in list_files(self.folder) if path.name not in seen]:
            for path in fresh:
                seen.add(path.name)
                try:
                    return self._declared_type(path)
                except FileNotFoundError:  # merged into another file
                    continue
                except FILE_ERRORS as error:
                    self.on_corruption(path, error)
        return None

    def keys(self, *, progress: Callable[[int], None] | None = None) -> pa.Table:
        """Read the key columns of every row, repeated keys included.

        Args:
            progress: function that is called with the size in bytes of each file.
        """

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
        _check_feature_type(file.schema.field("feature").type)
        return file, file.read_as(self._key_schema)

    def _with_rows(
        self, keys: pa.Array, found: npt.NDArray[np.bool_], *, view: int
    ) -> Iterator[tuple[VerifiedFile, npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
        """Yield each file with its rows of keys that are not found yet, ascending, and their places.

        Args:
            keys: keys that are looked for.
            found: mask of the keys that were found, which the caller keeps up to date.
            view: view that is looked for.
        """
        at_least = min(len(keys) // 8, _ROWS_AT_ONCE)
        for files in _grouped(self._each(self._with_keys), at_least=at_least):
            stored = pa.concat_tables([each for _, each in files])
            rows, places = self._places_of(stored, keys, np.flatnonzero(~found), view=view)
            start = 0
            for file, own in files:
                part = slice(*np.searchsorted(rows, [start, start + own.num_rows]))
                yield file, rows[part] - start, places[part]
                start += own.num_rows

    def _copied(
        self,
        file: VerifiedFile,
        rows: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
        *,
        to: Features,
    ) -> bool:
        """Copy rows of a file to places of a matrix; False if the file cannot be used."""
        try:
            _check_same_type(file, to)
            if len(rows):
                parts = file.read_in_parts("feature", rows=_rows_at_a_time(to))
                _copy_rows(parts, rows, places, to=to)
        except FILE_ERRORS as error:
            self.on_corruption(file.path, error)
            return False
        return True

    def _declared_type(self, path: Location) -> pa.DataType:
        schema = read_footer(path, kind=self.kind, owner=self.owner)
        kind = schema.field("feature").type if "feature" in schema.names else pa.null()
        _check_feature_type(kind)
        return kind

    def _places_of(
        self, table: pa.Table, keys: pa.Array, places: npt.NDArray[np.int64], *, view: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Find the rows of a table whose keys are at some places of `keys`: ascending rows, places."""
        rows = self._rows_of(table, keys.take(pa.array(places)), view=view)
        held = np.flatnonzero(rows >= 0)
        order = held[np.argsort(rows[held], kind="stable")]
        return rows[order], places[order]

    def _rows_of(self, table: pa.Table, keys: pa.Array, *, view: int) -> npt.NDArray[np.int64]:
        """Find the first row of each key in a table, -1 for keys that it lacks."""
        rows = np.arange(table.num_rows)
        if self.has_views:
            rows = np.flatnonzero(table.column("view").to_numpy() == view)
        stored = table.column(self.key.name).combine_chunks().take(pa.array(rows))
        import pyarrow.compute as pc  # noqa: PLC0415  # takes 0.1 s to import

        positions = pc.index_in(keys, value_set=stored).fill_null(-1).to_numpy()
        # The -1 after the last row turns "not found" into -1 by plain indexing.
        located: npt.NDArray[np.int64] = np.append(rows, -1)[positions]
        return located


def _grouped(
    files: Iterator[tuple[VerifiedFile, pa.Table]], *, at_least: int
) -> Iterator[list[tuple[VerifiedFile, pa.Table]]]:
    """Group consecutive files with at least so many rows together, to search them at once."""
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


def _check_feature_type(kind: pa.DataType) -> None:
    if pa.types.is_fixed_size_list(kind) and kind.value_type in (pa.float32(), pa.float16()):
        return
    raise WrongSchemaError(
        f"features are stored as {kind}, expected a fixed-size list of float or halffloat"
    )


def _check_same_type(file: VerifiedFile, result: Features) -> None:
    kind = file.schema.field("feature").type
    if kind.list_size != result.shape[1] or kind.value_type.to_pandas_dtype() != result.dtype:
        raise WrongSchemaError(
            f"{file.path} holds {kind.value_type} features of width {kind.list_size}, the files "
            f"before it {result.dtype} of width {result.shape[1]}: delete one of the two sorts"
        )


def _rows_like(file: VerifiedFile, n: int) -> Features:
    """Return an undefined matrix `[n, d]` of the width and precision of a file."""
    kind = file.schema.field("feature").type
    return np.empty((n, kind.list_size), kind.value_type.to_pandas_dtype())


def _rows_at_a_time(features: Features) -> int:
    width = int(features.shape[1])
    return max(1, _BYTES_AT_ONCE // (width * features.itemsize))


def _blocks(
    parts: Iterable[pa.Array], rows: npt.NDArray[np.int64], places: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
    """Yield the places and the features of some rows of the concatenated parts; rows ascend."""
    start = 0
    for part in parts:
        first, last = np.searchsorted(rows, [start, start + len(part)])
        if first < last:
            matrix = from_column(pa.chunked_array([part]))
            yield places[first:last], matrix[_as_slice(rows[first:last] - start)]
        start += len(part)


def _copy_rows(
    parts: Iterable[pa.Array],
    rows: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    *,
    to: Features,
) -> None:
    """Copy row `rows[i]` of the concatenated parts to row `places[i]` of a matrix; rows ascend."""
    start = 0
    for part in parts:  # a part is freed before the next is read
        matrix = from_column(pa.chunked_array([part]))
        first, last = np.searchsorted(rows, [start, start + len(part)])
        to[_as_slice(places[first:last])] = matrix[_as_slice(rows[first:last] - start)]
        start += len(part)


def _as_slice(positions: npt.NDArray[np.int64]) -> slice | npt.NDArray[np.int64]:
    """Convert consecutive positions to a slice, which copies several times as fast."""
    if positions.size and (np.diff(positions) == 1).all():
        return slice(int(positions[0]), int(positions[-1]) + 1)
    return positions
