"""SQL over a store, answered by a DuckDB that has no access to files."""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from threading import Event, Lock
from types import TracebackType
from typing import Self, TypeVar

import duckdb
import pyarrow as pa

from clip_adapter.errors import ParameterError, nearest
from clip_adapter.runs.column_types import Types, projection
from clip_adapter.runs.computed import FILES_SCHEMA, add_functions, files_table
from clip_adapter.runs.definitions import (
    INTERNAL,
    column_comment,
    definitions,
    dependencies,
    named_in,
    view_names,
)
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.interruption import TimeLimit
from clip_adapter.runs.query_result import QueryResult
from clip_adapter.runs.saved_questions import find_question
from clip_adapter.runs.schemas import RUN_TABLES, RUNS, read_predictions_file, read_runs_file
from clip_adapter.runs.statements import WHAT_IS_ACCEPTED, check_question, plain_message
from clip_adapter.runs.verified_files import PROTOCOL, StoredTable, VerifiedFiles
from clip_adapter.settings import Settings
from feature_cache import FeatureCacheError, Location, list_file_entries, locate, storage, stores
from feature_cache.indexes import EXCLUDED_SCHEMA, QUARANTINE_SCHEMA, STORED_INDEX_SCHEMA

T = TypeVar("T")
DEFAULT_MAX_MEMORY = "50%"
LEAST_MEMORY_BYTES = 40_000_000
_MEMORY = re.compile(r"\d{1,9}(\.\d+)? ?([KMGT]i?B|%)", re.IGNORECASE)
BATCH_ROWS = 50_000
"""Rows of a batch of a result."""


# No file, no network, no extension, no Python variable of the caller, no spilling to disk.
_SEALED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "allow_persistent_secrets": False,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_PREPARATION = (
    f"SET allowed_directories = ['{PROTOCOL}://']",
    "SET enable_external_access = false",
    "SET parquet_metadata_cache = true",
    # The content of files is in memory already.
    "SET enable_external_file_cache = false",
    "SET TimeZone = 'UTC'",
    "CREATE SCHEMA stored",
    f"CREATE SCHEMA {INTERNAL}",
    "SET lock_configuration = true",
)
FILES = "files"
"""Name of the stored table of the files of the store."""
FEATURES_OF = "features_"
"""Beginning of the name of a stored table with the features of one encoder."""
_OF_RUNS = frozenset({"runs", "metrics", "curves", "predictions"})
"""Tables of which every file holds all rows of a run or none."""
IN_FILES = "_in_files"
"""End of the name of a stored table that may hold a run twice."""
_FEATURES = re.compile(r"features|similar_images", re.IGNORECASE)
_MOST_TRIES = 10
"""Largest number of times that a statement is run while files are merged under it."""
_ABSENT_TABLE = "Table with name "
_LISTING = re.compile(r"\bshow\b|\b(?:duckdb|information|pg|sqlite)_", re.IGNORECASE)
"""What lists the names that there are."""
_COMPUTED = re.compile(r"\bquery\w*\(", re.IGNORECASE)
"""What computes a name."""


# DuckDB's classes stand in quotes in annotations: what still refers to them when the interpreter
# ends under a background thread makes its bindings print a page of leak warnings.


class RunDatabase:
    """A read-only SQL database of the rows that were stored when it was opened.

    Opening takes no lock and writes nothing. DuckDB runs in memory and reads the files of the store
    through `VerifiedFiles`, so that no statement can read or write another file.
    """

    def __init__(
        self,
        connection: "duckdb.DuckDBPyConnection",
        files: VerifiedFiles,
        tables: Mapping[str, StoredTable],
        *,
        root: Location | None,
    ) -> None:
        self._connection, self._files, self._tables = connection, files, tables
        self._root = root
        self._max_bytes = _memory_limit(connection)
        self._lock = Lock()  # a connection answers one statement at a time
        self._made: set[str] = set()
        self._commented: set[str] = set()
        self._stopped = Event()
        self._is_streaming = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def sql(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        max_seconds: float | None = None,
    ) -> QueryResult:
        """Run one statement; the result gives its rows as Arrow, pandas, polars or Python values.

        Args:
            sql: one SELECT, WITH, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement.
            parameters: values for each $NAME in the statement, by name.
            max_seconds: time after which the statement is stopped; no limit when None.

        Raises:
            RunStoreError: the statement does not read, is invalid, names something that does not
                exist, was stopped, or needs more memory than it may take.
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: a file that the
                statement reads is damaged or cannot be understood.
        """
        return QueryResult(self.query(sql, parameters, max_seconds=max_seconds))

    def question(self, name: str, /, **parameters: object) -> QueryResult:
        """Run the saved question of a name, as `clip-adapter sql --question` does.

        Args:
            name: its name, as "hard-classes".
            parameters: values of its parameters, as `shots=16`; the default of every other one.

        Raises:
            UnknownNameError: there is no question or parameter of this name.
            RunStoreError: a parameter without a default is not given, the file of the question cannot
                be used, or the statement fails as in `sql`.
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: as `sql` does.
        """
        question = find_question(name, self._root)
        return self.sql(question.statement, question.values(parameters) or None)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        max_seconds: float | None = None,
    ) -> pa.Table:
        """Run one statement; `clip_adapter.runs.view_names` has the names of the views.

        The digest, format and kind of every file that is scanned are verified first. Sums of
        integers are int64 where they fit, times are in UTC. Ctrl-C ends the statement. Types that Arrow
        does not have, such as BIT, are text.

        Args:
            sql: one SELECT, WITH, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement.
            parameters: values for each $NAME in the statement, by name.
            max_seconds: time after which the statement is stopped; no limit when None.

        Raises:
            RunStoreError: the statement does not read, is invalid, names something that does not
                exist, was stopped, or needs more memory than it may take.
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: a file that the
                statement reads is damaged or cannot be understood.
        """
        check_question(sql)
        with self._lock:
            self._check_is_free()
            answer = partial(self._rows, sql, parameters)
            return self._call(partial(self._repeated, answer), TimeLimit(max_seconds))

    def stream(
        self,
        sql: str,
        parameters: Mapping[str, object] | None = None,
        *,
        max_seconds: float | None = None,
        types: Types = Types.ARROW,
    ) -> Generator[pa.RecordBatch, None, None]:
        """Run one statement and yield its rows as they come: one batch at least, empty if there are none.

        Nothing runs before the first batch is asked for. While it is not closed or at its end, the
        database takes no other statement.

        Args:
            sql: one statement, as for `query`.
            parameters: values for each $NAME in the statement, by name.
            max_seconds: time in the database after which the statement is stopped; what is done with the
                rows does not count.
            types: where the rows go: types that are not known there are text.

        Raises:
            RunStoreError: as `query` does.
            CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: as `query` does.
        """
        check_question(sql)
        limit = TimeLimit(max_seconds)
        start = partial(self._start, sql, parameters, types)
        with self._lock:
            self._check_is_free()
            names, reader, first = self._call(partial(self._repeated, start), limit)
            self._is_streaming = True
        try:
            batches = self._batches(reader, first, limit)
            if types is Types.PARQUET and pa.decimal128(38, 0) in reader.schema.types:
                # Sums are integers in a file as well; whether all fit is known at the end.
                rows = self._table(batches, reader.schema).rename_columns(names)
                yield from rows.to_batches() or [pa.RecordBatch.from_pylist([], schema=rows.schema)]
            else:
                yield from (batch.rename_columns(names) for batch in batches)
        finally:
            # The connection takes no other statement while the result of one is open.
            with self._lock:
                reader.close()
                self._is_streaming = False

    def _check_is_free(self) -> None:
        if self._is_streaming:
            raise RunStoreError(
                "the rows of another statement are still being read: close that stream first, or connect "
                "again"
            )

    def _batches(
        self, reader: pa.RecordBatchReader, first: pa.RecordBatch, limit: TimeLimit
    ) -> Iterator[pa.RecordBatch]:
        batch = first
        while batch is not None:
            yield batch
            try:
                with self._lock:
                    batch = self._call(partial(next, reader, None), limit)
            except FileNotFoundError as vanished:
                raise RunStoreError(
                    f"{vanished.filename or 'a file'} was merged into another one while its rows were "
                    "read: run the statement again"
                ) from None

    def _rows(self, sql: str, parameters: Mapping[str, object] | None) -> pa.Table:
        names, reader, first = self._start(sql, parameters, Types.ARROW)
        with closing(reader):
            return self._table(chain([first], reader), reader.schema).rename_columns(names)

    def _repeated(self, function: Callable[[], T]) -> T:
        """Call a function again with the files that are there, where one has vanished that was listed.

        It was merged into another one, which has its rows.
        """
        for _ in range(_MOST_TRIES - 1):
            self._files.failure = None
            try:
                return function()
            except (duckdb.Error, OSError, pa.ArrowException):
                if not isinstance(self._files.failure, FileNotFoundError):
                    raise
            self._list_again()
        return function()

    def _start(
        self, sql: str, parameters: Mapping[str, object] | None, types: Types
    ) -> tuple[list[str], pa.RecordBatchReader, pa.RecordBatch]:
        """The names of the columns, the batches of a statement after the first, and the first."""
        lists_names = bool(_LISTING.search(sql)) and not (_COMPUTED.search(sql) or named_in(sql))
        if lists_names and self._root is not None:
            # What there is does not depend on the files, of which one may be damaged.
            return self._without_files._start(sql, parameters, types)  # noqa: SLF001  # of this class
        self._make_views(named_views(sql), f"{sql} {parameters}")
        if _LISTING.search(sql):
            self._make_comments()
        relation = self._connection.sql(sql, params=parameters)
        if relation is None:
            raise RunStoreError(f"the statement returns no rows: {WHAT_IS_ACCEPTED}")
        columns = projection(relation.types, types)
        shown = relation.project(columns) if columns else relation
        # A projection gives two columns of one name different ones.
        reader = shown.to_arrow_reader(BATCH_ROWS)
        try:
            first = next(reader, None) or pa.RecordBatch.from_pylist([], schema=reader.schema)
        except BaseException:
            reader.close()
            raise
        return relation.columns, reader, first

    def _call(self, function: Callable[[], T], limit: TimeLimit) -> T:
        def explained() -> T:
            try:
                return function()
            except (duckdb.Error, OSError, pa.ArrowException) as error:
                raise self._explained(error) from None

        self._stopped.clear()
        return limit.call(explained, interrupt=self._interrupt)

    def _interrupt(self) -> None:
        self._stopped.set()
        with suppress(duckdb.ConnectionException):  # it is closed
            self._connection.interrupt()

    def _table(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
        """All rows as one table, which may be as large as the database's memory."""
        held: list[pa.RecordBatch] = []
        size = 0
        for batch in batches:
            held.append(batch)
            size += batch.nbytes
            if size > self._max_bytes:
                raise RunStoreError(self._too_large())
        return _with_plain_integers(pa.Table.from_batches(held, schema))

    def _list_again(self) -> None:
        """Read the files that are stored now; the views above them find the new ones by name."""
        self._files.forget()
        _list_files(self._files)
        self._connection.execute("DROP SCHEMA stored CASCADE")
        self._connection.execute("CREATE SCHEMA stored")
        self._made = {name for name in self._made if not name.startswith("stored.")}

    def close(self) -> None:
        """Stop what runs and free the memory; closing twice is harmless."""
        self._interrupt()
        with self._lock:
            self._connection.close()

    @cached_property
    def _without_files(self) -> Self:
        """A database of the same views over no rows."""
        tables = {
            name: replace(table, list_files=list)
            for name, table in self._tables.items()
            if table.schema is not None
        }
        return type(self)(*_prepared(tables, DEFAULT_MAX_MEMORY), root=None)

    def _make_views(self, names: list[str], text: str) -> None:
        # DuckDB binds the whole text of a view to make it: all of them take it a tenth of a second.
        for table in self._stored_tables_in(names, text):
            self._make_stored(table)
        for name in names:
            if name not in self._made:
                self._connection.execute(definitions()[name].sql)
                self._made.add(name)

    def _make_comments(self) -> None:
        for name in self._made & definitions().keys() - self._commented:
            for statement in definitions()[name].comments:
                self._connection.execute(statement)
            self._comment_on_columns(name)
            self._commented.add(name)

    def _comment_on_columns(self, view: str) -> None:
        columns = (
            "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'main' AND table_name = ?"
        )
        for (column,) in self._connection.execute(columns, [view]).fetchall():
            text = column_comment(view, column).replace("'", "''")
            self._connection.execute(f"COMMENT ON COLUMN {view}.\"{column}\" IS '{text}'")

    def _stored_tables_in(self, names: list[str], text: str) -> list[str]:
        """The stored tables that views and macros read; of features those of the encoders in a text."""
        below = {
            table
            for name in names
            for table in re.findall(r"\bstored\.(\w+)", definitions()[name].sql)
        }
        below.update(re.findall(r"\bstored\s*\.\s*\"?(\w+)", text.casefold()))
        if FEATURES_OF in below and _FEATURES.search(text):
            encoders = [name for name in self._tables if name.startswith(FEATURES_OF)]
            named = [name for name in encoders if name.removeprefix(FEATURES_OF) in text]
            below.update(named or encoders)
        whole = {f"{name}{IN_FILES}" for name in _OF_RUNS}
        return [
            name
            for name in (*self._tables, *sorted(whole), FILES)
            if name in below and self._has(name)
        ]

    def _has(self, name: str) -> bool:
        """Whether there is such a table; an encoder without a file of features has none."""
        return not name.startswith(FEATURES_OF) or bool(self._files.files(name))

    def _make_stored(self, name: str) -> None:
        """Make the view `stored.<name>`: the rows of all files, those of a run from one file alone."""
        if f"stored.{name}" in self._made:
            return
        if name == FILES:
            self._files.give(name, self._files_table())
        rows = f"read_parquet('{PROTOCOL}://{name.removesuffix(IN_FILES)}/*', hive_partitioning := false)"
        if name in _OF_RUNS:
            rows = self._each_run_once(name, rows)
        elif name.startswith(FEATURES_OF):
            rows = self._of_one_width(rows)
        # Views alone: a statement may change a table in a WITH clause.
        self._connection.execute(f'CREATE VIEW stored."{name}" AS FROM {rows}')
        self._made.add(f"stored.{name}")

    def _of_one_width(self, rows: str) -> str:
        """SQL of features as arrays, whose width is that of the first."""
        ((width,),) = self._connection.execute(
            f"SELECT len(feature) FROM {rows} LIMIT 1"
        ).fetchall()
        return (
            f"(SELECT image_sha256, feature::FLOAT[{width}] AS feature FROM {rows} WHERE view = 0)"
        )

    def _files_table(self) -> pa.Table:
        if self._root is None:
            return FILES_SCHEMA.empty_table()
        try:
            return files_table(self._root, is_stopped=self._stopped.is_set)
        except FileNotFoundError as vanished:
            self._files.failure = vanished
            raise

    def _each_run_once(self, name: str, rows: str) -> str:
        """SQL of the rows of a table without repeated runs, and without runs that have no row in `runs`.

        Every file holds all rows of a run or none. While files are being compacted two may hold the
        same run, and what a killed process wrote has no row in `runs`. Both are rare and looked for
        once: a query would take several times as long if it had to drop such rows.
        """
        if name == "runs":
            repeated = self._is_any(f"SELECT count(*) > 1 AS found FROM {rows} GROUP BY run_id")
            only = "DISTINCT ON (run_id)" if repeated else ""
            return f"(SELECT {only} *, (file_index::BIGINT << 32) + file_row_number AS number FROM {rows})"
        self._make_stored("runs")
        by_run = f"(SELECT run_id, min(file_index) AS file_index, max(file_index) AS last FROM {rows} GROUP BY run_id)"
        if not self._is_any(
            "SELECT last > file_index OR recorded IS NULL AS found "
            f"FROM {by_run} LEFT JOIN (SELECT run_id, true AS recorded FROM stored.runs) USING (run_id)"
        ):
            return rows
        return (
            f"(SELECT every.* FROM (SELECT *, file_index FROM {rows}) AS every "
            f"SEMI JOIN (FROM {by_run} SEMI JOIN stored.runs USING (run_id)) AS first USING (run_id, file_index))"
        )

    def _is_any(self, sql: str) -> bool:
        """Whether the column `found` of a statement is true in any row."""
        ((found,),) = self._connection.execute(f"SELECT bool_or(found) FROM ({sql})").fetchall()
        return bool(found)

    def _too_large(self) -> str:
        return (
            f"needs more than {_size(self._max_bytes)} of memory: ask for less, or allow more "
            "(--max-memory, in Python max_memory of connect)"
        )

    def _explained(self, error: Exception) -> Exception:
        # Of another kind are those about a path that the statement made up.
        if isinstance(self._files.failure, FeatureCacheError | OSError):
            return self._files.failure
        message = plain_message(error)
        if isinstance(error, duckdb.InterruptException):
            return RunStoreError("stopped: the database was closed")
        if message.startswith("Out of Memory Error"):
            return RunStoreError(self._too_large())
        return RunStoreError(_advice(message))


def connect(
    root: Location | str | None = None, *, max_memory: str = DEFAULT_MAX_MEMORY
) -> RunDatabase:
    """Connect to the SQL database of a store; use it as a context manager, or close it.

    The database is read-only and lives in memory: it shows the rows that were stored when it was
    opened, and those since where a file that it read was merged into others. `RunDatabase.sql` takes one
    statement and returns its rows as Arrow, pandas, polars or Python values, `RunDatabase.query` as a
    `pyarrow.Table`; the names of the views are those of `clip_adapter.runs.view_names`.

    Args:
        root: folder or URL of the store, as s3://bucket/prefix; the environment variable
            CLIP_ADAPTER_ROOT when None, and ./clip-adapter-store when that is not set.
        max_memory: memory that a statement may take, and its result as well, as "8GB", or as "50%"
            of the machine's; nothing is written to disk instead.

    Raises:
        RunStoreError: there is no such folder. An empty folder is a store without rows.
        ParameterError: an environment variable or `max_memory` has an invalid value.
        InvalidInputError: the URL cannot be the root of a store.
    """
    location = Settings.of().location if root is None else locate(root)
    if not storage.is_folder(location):
        raise RunStoreError.no_store(location)
    return RunDatabase(*_prepared(_stored_tables(location), max_memory), root=location)


def _prepared(
    tables: Mapping[str, StoredTable], max_memory: str
) -> tuple["duckdb.DuckDBPyConnection", VerifiedFiles, Mapping[str, StoredTable]]:
    """A connection that can read the files of these tables, and nothing else."""
    connection = duckdb.connect(":memory:", config=_SEALED)
    files = VerifiedFiles(tables)
    connection.register_filesystem(files)
    add_functions(connection)
    _list_files(files)
    # A statement of more than two seconds would draw a progress bar into the output. In a
    # notebook without ipywidgets there is none, and DuckDB refuses to have it switched off.
    with suppress(duckdb.InvalidInputException):
        connection.execute("SET enable_progress_bar = false")
    _limit_memory(connection, max_memory)
    for statement in _PREPARATION:
        connection.execute(statement)
    return connection, files, tables


def _list_files(files: VerifiedFiles) -> None:
    # The runs that a request names were stored before it, and the rows of a run before the run.
    for name in RUN_TABLES:
        files.files(name)


def named_views(sql: str) -> list[str]:
    """The views and macros that a statement may use, in an order in which they can be made.

    All of them where it lists what there is, or computes the name of a table.
    """
    named = named_in(sql)
    if _LISTING.search(sql) or _COMPUTED.search(sql):
        return list(definitions())
    needed = named.union(*map(dependencies, named))
    return [name for name in definitions() if name in needed]


def query(
    root: Location,
    sql: str,
    parameters: Mapping[str, object] | None = None,
    *,
    max_seconds: float | None = None,
) -> pa.Table:
    """Run one statement on the store at `root`; see `connect` and `RunDatabase.query`."""
    with connect(root) as database:
        return database.query(sql, parameters, max_seconds=max_seconds)


_DATASET_TABLES = {
    "images": ("dataset-index", STORED_INDEX_SCHEMA),
    "quarantine": ("dataset-quarantine", QUARANTINE_SCHEMA),
    "excluded": ("dataset-excluded", EXCLUDED_SCHEMA),
}


def _stored_tables(root: Location) -> dict[str, StoredTable]:
    """Every table by its name; the files of runs are listed now, in the order of the tables."""
    tables = {
        name: StoredTable(
            list_files=partial(_files_of, [(root / "runs" / name, "")]), kind=name, schema=schema
        )
        for name, schema in RUN_TABLES.items()
    }
    tables["runs"] = replace(tables["runs"], schema=RUNS, convert=read_runs_file)
    tables["requests"] = replace(tables["requests"], is_small=True)
    tables["predictions"] = replace(tables["predictions"], convert=read_predictions_file)
    datasets = storage.list_folders(root / "datasets")
    for name, (kind, schema) in _DATASET_TABLES.items():
        folders = [(root / "datasets" / dataset / name, dataset) for dataset in datasets]
        tables[name] = StoredTable(list_files=partial(_files_of, folders), kind=kind, schema=schema)
    for store in stores(root):
        tables[f"{FEATURES_OF}{store.encoder}"] = StoredTable(
            list_files=partial(_files_of, [(store.folder / "image", store.encoder)]),
            kind="image-features",
            schema=None,
        )
    return tables


def _files_of(folders: Sequence[tuple[Location, str]]) -> list[tuple[Location, str]]:
    """The files of some folders, each with the owner of its folder; the largest first.

    DuckDB takes all files of a table to have as many rows as the first. Where it is one of many small
    ones, joins are planned for too few rows, and take more time and memory.
    """
    found = [
        (entry.size_bytes, folder / entry.name, owner)
        for folder, owner in folders
        for entry in list_file_entries(folder)
    ]
    found.sort(key=lambda each: each[0], reverse=True)
    return [(path, owner) for _, path, owner in found]


def _limit_memory(connection: "duckdb.DuckDBPyConnection", size: str) -> None:
    try:
        if _MEMORY.fullmatch(size):
            connection.execute(f"SET memory_limit = '{size}'")
            if _memory_limit(connection) >= LEAST_MEMORY_BYTES:
                return
    except duckdb.Error:  # more than 100 %, or too little to answer
        pass
    connection.close()
    raise ParameterError(
        f"{size!r:.40} is no size of memory: expected at least 50MB, with its unit, as 8GB, 500MB or 50%"
    )


def _memory_limit(connection: "duckdb.DuckDBPyConnection") -> int:
    """The memory in bytes that a statement may take, from DuckDB's "11.7 GiB"."""
    # Until a fetch returns nothing, the connection registers no table.
    ((text,),) = connection.execute("SELECT current_setting('memory_limit')").fetchall()
    number, _, unit = str(text).partition(" ")
    return int(float(number) * 1024 ** ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit))


def _size(n_bytes: int) -> str:
    """A number of bytes in the units in which a limit is given."""
    return f"{n_bytes / 1e9:.3g}GB" if n_bytes >= 999_500_000 else f"{n_bytes / 1e6:.0f}MB"


def _advice(message: str) -> str:
    if _ABSENT_TABLE not in message:
        return message
    name = message.partition(_ABSENT_TABLE)[2].partition(" does not exist")[0]
    if name.startswith(FEATURES_OF):
        return (
            f"no features of encoder {name.removeprefix(FEATURES_OF)!r} are stored: expected "
            "a whole fingerprint, as SELECT DISTINCT encoder, model FROM extractions lists them"
        )
    close = nearest(name, view_names())
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    return f"there is no view {name!r}: {guess}There are {', '.join(view_names())}"


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
