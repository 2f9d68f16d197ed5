"""Append-only tables whose records are numbered in sequence for each dataset."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa

from clip_adapter.runs.schemas import RUN_TABLES
from feature_cache import Location, read_tables
from feature_cache.schemas import conform


class _Numbered(Protocol):
    @property
    def dataset(self) -> str: ...

    @property
    def sequence(self) -> int: ...

    @property
    def order(self) -> Any: ...


_Record = TypeVar("_Record", bound=_Numbered)


@dataclass(frozen=True)
class AppendOnlyTable(Generic[_Record]):
    """One table below `<root>/runs`; any number of processes may append to it at once.

    A subclass names the table, whose first column identifies a record, and the class that makes a
    record from the columns of a row.

    Attributes:
        root: location of the store.
    """

    root: Location
    name: ClassVar[str]
    make: ClassVar[Callable[..., Any]]

    @property
    def folder(self) -> Location:
        """Location of the files."""
        return self.root / "runs" / self.name

    def records(self) -> list[_Record]:
        """Every record, in the order of the files; a row that two files hold occurs twice.

        Raises:
            CorruptFileError, NewerFormatError, WrongSchemaError: a file is damaged or cannot be
                understood.
        """
        table = read_tables(self.folder, kind=self.name, schema=RUN_TABLES[self.name])
        return [self.make(**row) for row in table.to_pylist()]

    def history(self, dataset: str) -> list[_Record]:
        """The records of a dataset in order, each once; raises as `records`."""
        key = RUN_TABLES[self.name].names[0]
        found = {getattr(each, key): each for each in self.records() if each.dataset == dataset}
        return sorted(found.values(), key=lambda record: record.order)

    def next_sequence(self, dataset: str) -> int:
        """The number for the next record of a dataset, from 1; raises as `records`."""
        return 1 + max((each.sequence for each in self.history(dataset)), default=0)

    def row(self, record: _Record) -> pa.Table:
        """A record as a table of one row.

        Raises:
            ArrowInvalid, WrongSchemaError: a value does not fit its column, or is missing.
        """
        schema = RUN_TABLES[self.name]
        table = pa.Table.from_pylist([vars(record)], schema=schema)
        return conform(table, schema, source=f"the {self.name} to record")
