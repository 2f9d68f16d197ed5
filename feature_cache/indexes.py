"""Dataset indexes at rest: which images a dataset has, and which it lacks and why."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from feature_cache.errors import InvalidIndexError, MissingIndexError
from feature_cache.files import write_table
from feature_cache.keys import check_dataset
from feature_cache.paths import Location
from feature_cache.reading import OnCorruption, raise_on_corruption, read_tables
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
"""One row an image; `row` numbers the images of one index from 0 without gaps."""

STORED_INDEX_SCHEMA = INDEX_SCHEMA.append(pa.field("name", pa.string())).append(
    pa.field("source", pa.string())
)
"""The columns in a file: what somebody called the dataset, and the path or URL as typed."""

QUARANTINE_SCHEMA = pa.schema(
    [
        _required("index_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("path", pa.string()),
        _required("reason", pa.string()),
        pa.field("n_bytes", pa.int64()),
    ]
)
"""One row a file that could not be read as an image."""

EXCLUDED_SCHEMA = pa.schema(
    [
        _required("index_fingerprint", pa.string()),
        _required("dataset", pa.string()),
        _required("path", pa.string()),
        _required("reason", pa.string()),
    ]
)
"""One row a file that could be read and was left out of the index all the same."""

_KINDS = {
    "images": "dataset-index",
    "quarantine": "dataset-quarantine",
    "excluded": "dataset-excluded",
}


@dataclass(frozen=True)
class IndexStore:
    """The indexes of one dataset, under `<root>/datasets/<dataset>`.

    Reading verifies every file and raises CorruptFileError, NewerFormatError or WrongKindError,
    each naming the file.

    Attributes:
        root: Of everything at rest.
        dataset: The dataset's name: lower-case letters, digits, and `.`, `_`, `-` inside.
        on_corruption: What to do about a file that cannot be trusted.
    """

    root: Location
    dataset: str
    on_corruption: OnCorruption = field(default=raise_on_corruption, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_dataset(self.dataset)

    @property
    def folder(self) -> Location:
        """Where the indexes lie; it may not exist yet."""
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
        """Record one index; recording it again writes nothing.

        Args:
            images: At least one row, with the columns of `INDEX_SCHEMA`, in any order.
            quarantine: Any number of rows, with the columns of `QUARANTINE_SCHEMA`.
            excluded: Any number of rows, with the columns of `EXCLUDED_SCHEMA`.
            name: What somebody called the dataset.
            source: The path or URL of the images, as typed.

        Raises:
            WrongSchemaError: A column is missing, of another type, or has nulls it must not have.
            InvalidIndexError: No images, more than one fingerprint, another dataset's rows, or
                row numbers that are not 0 to n - 1.
        """
        images = conform(images, INDEX_SCHEMA, source="the index").sort_by("row")
        quarantine = conform(quarantine, QUARANTINE_SCHEMA, source="the quarantine").sort_by("path")
        excluded = EXCLUDED_SCHEMA.empty_table() if excluded is None else excluded
        excluded = conform(excluded, EXCLUDED_SCHEMA, source="what is excluded").sort_by("path")
        self._check(images, quarantine, excluded)
        # The images last: an index that can be read has all that belongs to it beside it.
        for folder, table in (("quarantine", quarantine), ("excluded", excluded)):
            if table.num_rows:
                self._write(folder, table)
        self._write("images", _with_origin(images, name=name, source=source))

    def read(self, index_fingerprint: str) -> pa.Table:
        """The images of one index, sorted by `row`.

        Raises:
            MissingIndexError: No index has this fingerprint.
        """
        table = self._select(self._read("images", schema=INDEX_SCHEMA), index_fingerprint)
        if table.num_rows == 0:
            raise MissingIndexError(
                f"dataset {self.dataset} has no index {index_fingerprint!r}, it has "
                f"{sorted(self.fingerprints())}: index the dataset again"
            )
        return _first_of_each(table, "row")

    def read_quarantine(self, index_fingerprint: str) -> pa.Table:
        """The unreadable files of one index, sorted by `path`; none when all were readable."""
        table = self._read("quarantine", schema=QUARANTINE_SCHEMA)
        return _first_of_each(self._select(table, index_fingerprint), "path")

    def read_excluded(self, index_fingerprint: str) -> pa.Table:
        """The readable files that one index leaves out, sorted by `path`; mostly none."""
        table = self._read("excluded", schema=EXCLUDED_SCHEMA)
        return _first_of_each(self._select(table, index_fingerprint), "path")

    def origins(self) -> pa.Table:
        """The distinct `index_fingerprint`, `name`, `source` of all indexes; null where unknown."""
        columns = ["index_fingerprint", "name", "source"]
        table = self._read("images", schema=pick(STORED_INDEX_SCHEMA, *columns))
        return (
            table.group_by(columns).aggregate([]).sort_by([(each, "ascending") for each in columns])
        )

    def sizes(self) -> pa.Table:
        """`image_sha256`, `width`, `height` of the images of all indexes; copies come repeatedly."""
        return self._read("images", schema=pick(INDEX_SCHEMA, "image_sha256", "width", "height"))

    def fingerprints(self) -> set[str]:
        """The fingerprints of all indexes of the dataset."""
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

    def _write(self, name: str, table: pa.Table) -> None:
        write_table(self.folder / name, table, kind=_KINDS[name], owner=self.dataset)

    def _select(self, table: pa.Table, index_fingerprint: str) -> pa.Table:
        import pyarrow.compute as pc  # noqa: PLC0415  # 0.1 s, for whoever computes

        return table.filter(pc.field("index_fingerprint") == index_fingerprint)

    def _check(self, images: pa.Table, *others: pa.Table) -> None:
        if images.num_rows == 0:
            raise InvalidIndexError(
                f"the index of {self.dataset} has no images: a dataset needs at least one"
            )
        if not np.array_equal(images.column("row").to_numpy(), np.arange(images.num_rows)):
            raise InvalidIndexError(
                f"the rows of the index of {self.dataset} are not numbered 0 to "
                f"{images.num_rows - 1}: an image was lost or counted twice"
            )
        for column, most in (("dataset", {self.dataset}), ("index_fingerprint", None)):
            found = {
                value for table in (images, *others) for value in table.column(column).to_pylist()
            }
            if len(found) != 1 or found != (most or found):
                raise InvalidIndexError(
                    f"the index of {self.dataset} has {column} {sorted(found)}, expected "
                    f"{sorted(most) if most else 'a single one'}: write one index at a time"
                )


def _with_origin(images: pa.Table, **origin: str | None) -> pa.Table:
    # What nobody said takes no column, so that an index of before is the same file today.
    for name, value in origin.items():
        if value is not None:
            images = images.append_column(name, pa.array([value] * images.num_rows, pa.string()))
    return images


def _first_of_each(table: pa.Table, column: str) -> pa.Table:
    """One row for each value of a column, sorted by it; the first of those that repeat."""
    values = table.column(column).to_numpy()
    _, firsts = np.unique(values, return_index=True)
    return table.take(pa.array(firsts))
