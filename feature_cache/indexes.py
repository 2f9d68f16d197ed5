"""Stored dataset indexes: the images of a dataset, and the files that were left out and why."""

import re
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_cache import storage
from feature_cache.errors import InvalidInputError, NotStoredError
from feature_cache.parquet_file import write_table
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, each_file, raise_on_corruption, read_tables
from feature_cache.schemas import conform, pick


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


INDEX_SCHEMA = pa.schema(
    [
        _required("index_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("row", pa.int32()),
        _required("image_sha256", pa.binary(32)),
        _required("path", pa.string()),
        _required("label", pa.int32()),
        _required("class_name", pa.string()),
        _required("split", pa.string()),
        pa.field("group", pa.string()),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("n_bytes", pa.int64()),
    ]
)
"""One row for each image; `row` numbers the images of one index from 0 without gaps."""

STORED_INDEX_SCHEMA = INDEX_SCHEMA.append(pa.field("name", pa.string())).append(
    pa.field("source", pa.string())
)
"""Columns of a file: also the name under which the dataset was first indexed (null if that is its
name in the store), and the absolute path or URL of its images."""

QUARANTINE_SCHEMA = pa.schema(
    [
        _required("index_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("path", pa.string()),
        _required("reason", pa.string()),
        pa.field("n_bytes", pa.int64()),
    ]
)
"""One row for each file that could not be read as an image."""

EXCLUDED_SCHEMA = pa.schema(
    [
        _required("index_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("path", pa.string()),
        _required("reason", pa.string()),
    ]
)
"""One row for each file that could be read but was left out of the index."""

_DATASET = re.compile(r"[a-z0-9][a-z0-9._-]*")
_KINDS = {
    "images": "dataset-index",
    "quarantine": "dataset-quarantine",
    "excluded": "dataset-excluded",
}


@dataclass(frozen=True)
class IndexStore:
    """Indexes of one dataset, in `<root>/datasets/<dataset>`.

    Every method that reads verifies the files it reads. By default it raises CorruptFileError,
    NewerFormatError, MisplacedFileError or WrongSchemaError, each with the name of the file;
    `on_corruption` may continue without the file instead.

    Attributes:
        root: root of the store.
        dataset: name of the dataset: lower-case letters, digits, and `.`, `_`, `-` inside.
        on_corruption: handler of a file that cannot be used.
    """

    root: Location
    dataset: str
    on_corruption: OnCorruption = field(default=raise_on_corruption, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_dataset(self.dataset)

    @property
    def folder(self) -> Location:
        """Folder of the indexes; it may not exist yet."""
        return self.root / "datasets" / self.dataset

    def write(
        self,
        images: pa.Table,
        quarantine: pa.Table,
        *,
        excluded: pa.Table | None = None,
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        """Store one index; storing it again writes nothing.

        The lists of files that are not used take the place of those that this index had before. Writers
        of the same index do not disturb each other; what both wrote at once counts until the next one.

        Args:
            images: table with the columns of `INDEX_SCHEMA` and at least one row, in any order.
            quarantine: table with the columns of `QUARANTINE_SCHEMA`; may be empty.
            excluded: table with the columns of `EXCLUDED_SCHEMA`; may be empty.
            name: name under which the dataset was first indexed; it outlives renaming.
            source: absolute path or URL of the images.

        Raises:
            WrongSchemaError: a column is missing, has another type, or has nulls that it must not
                have.
            InvalidInputError: there are no images, rows of several indexes or of another dataset,
                or the row numbers are not 0 to n - 1.
            CorruptFileError, NewerFormatError, MisplacedFileError: `on_corruption` raised the error
                about a file of what was not used before.
        """
        images = conform(images, INDEX_SCHEMA, source="the index").sort_by("row")
        quarantine = conform(quarantine, QUARANTINE_SCHEMA, source="the quarantine").sort_by("path")
        excluded = EXCLUDED_SCHEMA.empty_table() if excluded is None else excluded
        excluded = conform(excluded, EXCLUDED_SCHEMA, source="what is excluded").sort_by("path")
        self._check(images, quarantine, excluded)
        fingerprint = images.column("index_fingerprint")[0].as_py()
        # The images come last, so that an index that can be read is complete.
        self._replace("quarantine", quarantine, QUARANTINE_SCHEMA, fingerprint)
        self._replace("excluded", excluded, EXCLUDED_SCHEMA, fingerprint)
        self._write("images", _with_origin(images, name=name, source=source))

    def read(self, index_fingerprint: str) -> pa.Table:
        """Read the images of one index, sorted by `row`.

        Raises:
            NotStoredError: no index has this fingerprint.
        """
        table = self._select(self._read("images", schema=INDEX_SCHEMA), index_fingerprint)
        if table.num_rows == 0:
            raise NotStoredError(
                f"dataset {self.dataset} has no index {index_fingerprint!r}, it has "
                f"{sorted(self.fingerprints())}: index the dataset again"
            )
        return _first_of_each(table, "row")

    def read_quarantine(self, index_fingerprint: str) -> pa.Table:
        """Read the unreadable files of one index, sorted by `path`."""
        table = self._read("quarantine", schema=QUARANTINE_SCHEMA)
        return _first_of_each(self._select(table, index_fingerprint), "path")

    def read_excluded(self, index_fingerprint: str) -> pa.Table:
        """Read the readable files that one index leaves out, sorted by `path`."""
        table = self._read("excluded", schema=EXCLUDED_SCHEMA)
        return _first_of_each(self._select(table, index_fingerprint), "path")

    def origins(self) -> pa.Table:
        """Read the distinct `index_fingerprint`, `name`, `source` of all indexes; null if unknown."""
        columns = ["index_fingerprint", "name", "source"]
        table = self._read("images", schema=pick(STORED_INDEX_SCHEMA, *columns))
        return (
            table.group_by(columns).aggregate([]).sort_by([(each, "ascending") for each in columns])
        )

    def sources(self, index_fingerprint: str | None = None) -> list[str]:
        """Return the recorded paths or URLs of the images of all indexes, or of one, sorted."""
        table = self.origins()
        if index_fingerprint is not None:
            table = self._select(table, index_fingerprint)
        return sorted(set(table.column("source").drop_null().to_pylist()))

    def first_name(self) -> str | None:
        """Return the name under which the dataset was first indexed; None if that is its name.

        The name is part of the fingerprints of its indexes, so that renaming it changes none.
        """
        names = {each for each in self.origins().column("name").to_pylist() if each is not None}
        return min(names - {self.dataset}, default=None)

    def sizes(self) -> pa.Table:
        """Read `image_sha256`, `width` and `height` of the images of all indexes; rows may repeat."""
        return self._read("images", schema=pick(INDEX_SCHEMA, "image_sha256", "width", "height"))

    def splits(self) -> pa.Table:
        """Read `index_fingerprint`, `image_sha256` and `split` of all indexes; rows may repeat."""
        columns = ["index_fingerprint", "image_sha256", "split"]
        return self._read("images", schema=pick(INDEX_SCHEMA, *columns))

    def fingerprints(self) -> set[str]:
        """Return the fingerprints of all indexes of the dataset."""
        schema = pick(INDEX_SCHEMA, "index_fingerprint")
        return set(self._read("images", schema=schema).column(0).to_pylist())

    def _read(self, name: str, *, schema: pa.Schema) -> pa.Table:
        return read_tables(
            self.folder / name,
            kind=_KINDS[name],
            schema=schema,
            owner=self.dataset,
            on_corruption=self.on_corruption,
        )

    def _replace(self, name: str, table: pa.Table, schema: pa.Schema, fingerprint: str) -> None:
        """Make a table the rows of one index; the rows of other indexes stay.

        The new rows are on disk before the files of the old ones are removed, and only files that
        were there before are, so that two writers never remove what the other writes.
        """
        files = {
            path: rows
            for path, rows in self._files(name, schema)
            if self._select(rows, fingerprint).num_rows
        }
        stored = pa.concat_tables([schema.empty_table(), *files.values()])
        if _rows(self._select(stored, fingerprint)) == _rows(table):
            return
        written = {self._write(name, table)} if table.num_rows else set()
        for path, rows in files.items():
            others = self._select(rows, fingerprint, is_of_it=False)
            if others.num_rows:  # a merged file
                written.add(self._write(name, others))
            if path not in written:
                with suppress(FileNotFoundError):  # another writer removed it, too
                    storage.remove(path)

    def _files(self, name: str, schema: pa.Schema) -> list[tuple[Location, pa.Table]]:
        found = each_file(
            self.folder / name,
            lambda file: (file.path, file.read_as(schema)),
            kind=_KINDS[name],
            owner=self.dataset,
            on_corruption=self.on_corruption,
        )
        return list(found)

    def _write(self, name: str, table: pa.Table) -> Location:
        return write_table(self.folder / name, table, kind=_KINDS[name], owner=self.dataset)

    def _select(
        self, table: pa.Table, index_fingerprint: str, *, is_of_it: bool = True
    ) -> pa.Table:
        import pyarrow.compute as pc  # noqa: PLC0415  # takes 0.1 s to import

        is_its = pc.field("index_fingerprint") == index_fingerprint
        return table.filter(is_its if is_of_it else ~is_its)

    def _check(self, images: pa.Table, *others: pa.Table) -> None:
        if images.num_rows == 0:
            raise InvalidInputError(
                f"the index of {self.dataset} has no images: a dataset needs at least one"
            )
        if not np.array_equal(images.column("row").to_numpy(), np.arange(images.num_rows)):
            raise InvalidInputError(
                f"the rows of the index of {self.dataset} are not numbered 0 to "
                f"{images.num_rows - 1}: an image was lost or counted twice"
            )
        for column, expected in (("dataset", {self.dataset}), ("index_fingerprint", None)):
            found = {
                value for table in (images, *others) for value in table.column(column).to_pylist()
            }
            if len(found) != 1 or found != (expected or found):
                raise InvalidInputError(
                    f"the index of {self.dataset} has {column} {sorted(found)}, expected "
                    f"{sorted(expected) if expected else 'a single one'}: write one index at a time"
                )


def check_dataset(dataset: str) -> None:
    """Check that a dataset name is safe as the name of a folder.

    Raises:
        InvalidInputError: the name has characters other than lower-case letters, digits, and `.`,
            `_`, `-` inside.
    """
    if not _DATASET.fullmatch(dataset):
        raise InvalidInputError(
            f"dataset name is {dataset!r}, expected lower-case letters, digits and . _ - "
            "beginning with a letter or digit"
        )


def _with_origin(images: pa.Table, **origin: str | None) -> pa.Table:
    # A value that was not given adds no column, so that older indexes are the same file today.
    for name, value in origin.items():
        if value is not None:
            images = images.append_column(name, pa.array([value] * images.num_rows, pa.string()))
    return images


def _rows(table: pa.Table) -> set[tuple[object, ...]]:
    return {tuple(row.values()) for row in table.to_pylist()}


def _first_of_each(table: pa.Table, column: str) -> pa.Table:
    """Select the first row of each value of a column, sorted by the value."""
    values = table.column(column).to_numpy()
    _, firsts = np.unique(values, return_index=True)
    return table.take(pa.array(firsts))
