"""Records that are only ever added, numbered in sequence for each dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from feature_cache import Location, read_tables
from feature_cache.schemas import conform


class _Numbered(Protocol):
    """A record of one dataset's sequence."""

    @property
    def dataset(self) -> str: ...

    @property
    def sequence(self) -> int: ...

    @property
    def order(self) -> Any: ...


_Record = TypeVar("_Record", bound=_Numbered)


@dataclass(frozen=True, kw_only=True)
class NumberedTable(Generic[_Record]):
    """The records of one table under `<root>/runs`.

    Attributes:
        folder: Where its files lie.
        schema: Its columns; the first one identifies a record.
        make: A record from the columns of one row.
    """

    folder: Location
    schema: pa.Schema
    make: Callable[..., _Record]

    def records(self) -> list[_Record]:
        """Every record, in the order of the files; a row that two files hold comes twice.

        Raises:
            CorruptFileError, NewerFormatError, WrongSchemaError: A file cannot be trusted or
                understood.
        """
        table = read_tables(self.folder, kind=self.folder.name, schema=self.schema)
        return [self.make(**row) for row in table.to_pylist()]

    def history(self, dataset: str) -> list[_Record]:
        """The records of a dataset, each once, by their `order`; raises as `records`."""
        key = self.schema.names[0]
        found = {getattr(each, key): each for each in self.records() if each.dataset == dataset}
        return sorted(found.values(), key=lambda record: record.order)

    def next_sequence(self, dataset: str) -> int:
        """The number for the next record of a dataset, from 1; raises as `records`."""
        return 1 + max((each.sequence for each in self.history(dataset)), default=0)

    def row(self, record: _Record) -> pa.Table:
        """A record as a table of one row, for `write_table`.

        Raises:
            ArrowInvalid, WrongSchemaError: A value does not fit its column, or is missing.
        """
        table = pa.Table.from_pylist([vars(record)], schema=self.schema)
        return conform(table, self.schema, source=f"the {self.folder.name} to record")
