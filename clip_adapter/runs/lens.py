"""SQL over everything at rest, through a DuckDB that can touch no file."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from clip_adapter.errors import nearest
from clip_adapter.runs.errors import MissingRootError, QueryError
from clip_adapter.runs.statement import check_question, plain_message
from clip_adapter.runs.stored import StoredTable, stored_tables
from clip_adapter.runs.views import VIEWS
from feature_cache import Location, storage

__all__ = ["Lens", "open_lens", "query"]

# No file, no network, no extension, no Python variable of the caller, no spilling to disk.
_SEALED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_ABSENT_TABLE = "Table with name "


# DuckDB's classes stand in quotes in annotations: what still refers to them when the interpreter
# ends under a background thread makes its bindings print a page of leak warnings.


class Lens:
    """An open view of a store as it was when the lens was opened.

    Opening takes no lock and writes nothing. DuckDB lives in memory and gets the rows from Python,
    so no statement, however phrased, can read or write another file.
    """

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", tables: dict[str, StoredTable]
    ) -> None:
        self._connection, self._tables = connection, tables

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def query(self, sql: str, *, max_seconds: float | None = None) -> pa.Table:
        """Answer one question; the views are those of `clip_adapter.runs.views`.

        Every file that is scanned is verified first: its digest, its format and its kind.
        Sums of integers come as int64 where they fit, times in UTC.

        Args:
            sql: One SELECT, WITH, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement.
            max_seconds: Give up after this long; never by default.

        Raises:
            QueryError: Not a question, not valid, about something that does not exist, or stopped.
            CorruptFileError, NewerFormatError, WrongKindError, WrongSchemaError: A file that the
                question needs cannot be trusted or understood.
        """
        check_question(sql)
        for table in self._tables.values():
            table.failure = None
        try:
            with _stopped_after(max_seconds, self._connection):
                answer = self._connection.sql(sql).to_arrow_table()
        except duckdb.InterruptException:
            raise QueryError(
                f"stopped after {max_seconds} s: ask for less, or allow more time"
            ) from None
        except duckdb.Error as error:
            raise self._explained(error) from None
        return _with_plain_integers(answer)

    def close(self) -> None:
        """Let go of the memory; closing twice is harmless."""
        self._connection.close()

    def _explained(self, error: duckdb.Error) -> Exception:
        for table in self._tables.values():
            if table.failure is not None:
                return table.failure
        return QueryError(_advice(plain_message(error)))


def open_lens(root: Location) -> Lens:
    """Open a lens on the store at `root`; use it as a context manager, or close it.

    Raises:
        MissingRootError: `root` is not a folder. An empty folder is a store without rows.
    """
    if not storage.is_folder(root):
        raise MissingRootError(root)
    tables = stored_tables(root)
    connection = duckdb.connect(":memory:", config=_SEALED)
    connection.execute("SET TimeZone = 'UTC'")
    # A question of more than two seconds would draw a bar into the output of whoever asks.
    connection.execute("SET enable_progress_bar = false")
    for name, table in tables.items():
        connection.register(f"stored_{name}", table)
    for name, sql in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    connection.execute("SET lock_configuration = true")
    return Lens(connection, tables)


def query(root: Location, sql: str, *, max_seconds: float | None = None) -> pa.Table:
    """Answer one question about the store at `root`; see `Lens.query` and `open_lens`."""
    with open_lens(root) as lens:
        return lens.query(sql, max_seconds=max_seconds)


@contextmanager
def _stopped_after(
    seconds: float | None, connection: "duckdb.DuckDBPyConnection"
) -> Iterator[None]:
    if seconds is None:
        yield
        return
    timer = Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _advice(message: str) -> str:
    if _ABSENT_TABLE not in message:
        return message
    name = message.partition(_ABSENT_TABLE)[2].partition(" does not exist")[0]
    close = nearest(name, VIEWS)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"there is no view {name!r}: {guess}There are {', '.join(VIEWS)}"


def _with_plain_integers(table: pa.Table) -> pa.Table:
    # DuckDB sums integers in 128 bits, which reach Arrow as decimals.
    for place, field in enumerate(table.schema):
        if field.type == pa.decimal128(38, 0):
            table = _with_plain_integer(table, place)
    return table


def _with_plain_integer(table: pa.Table, place: int) -> pa.Table:
    field = table.schema.field(place)
    try:
        column = table.column(place).cast(pa.int64())
    except pa.ArrowInvalid:  # larger than 64 bits: the decimal is the number
        return table
    return table.set_column(place, pa.field(field.name, pa.int64()), column)
