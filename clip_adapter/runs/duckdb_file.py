"""The views of a store as the tables of a DuckDB file, which needs nothing of this library."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa

from clip_adapter.runs.database import RunDatabase
from clip_adapter.runs.definitions import view_names
from clip_adapter.runs.errors import RunStoreError
from feature_cache.exchange.atomic_write import new_path

STORAGE_VERSION = "v1.0.0"
"""The oldest version of DuckDB that opens the file: files of the 1.x line are read by every later one."""
_COMMENTS = """
SELECT table_name, column_name, comment FROM duckdb_columns()
WHERE comment IS NOT NULL AND table_name IN $names
UNION ALL
SELECT view_name, NULL, comment FROM duckdb_views() WHERE comment IS NOT NULL AND view_name IN $names
"""


def export_views(
    database: RunDatabase,
    path: Path,
    *,
    overwrite: bool = False,
    on_table: Callable[[str, int], None] = lambda _name, _rows: None,
) -> None:
    """Write every view as a table of a DuckDB file, completely or not at all.

    The connection that writes the file is another than the one that reads the store, which can open no
    file.

    Args:
        database: views to write.
        path: file to write.
        overwrite: replace a file that exists.
        on_table: called with the name and the number of rows of each table that was written.

    Raises:
        InvalidInputError: the file exists and may not be replaced.
        RunStoreError: DuckDB cannot write the file.
        CorruptFileError, NewerFormatError, MisplacedFileError, WrongSchemaError: a stored file is damaged
            or cannot be understood.
        OSError: the disk is full or fails.
    """
    comments = database.query(_COMMENTS, {"names": list(view_names())}).to_pylist()
    with new_path(path, overwrite=overwrite) as temporary:
        try:
            with duckdb.connect(":memory:", config={"temp_directory": ""}) as target:
                place = str(temporary).replace("'", "''")
                target.execute(
                    f"ATTACH '{place}' AS exported (STORAGE_VERSION '{STORAGE_VERSION}')"
                )
                target.execute("USE exported")
                for name in view_names():
                    on_table(name, _copy(database, name, target))
                for each in comments:
                    _comment(target, **each)
                target.execute("USE memory")
                target.execute("DETACH exported")  # writes what is in its log
        except duckdb.Error as error:
            raise RunStoreError(
                f"{path} cannot be written: {' '.join(str(error).split())}"
            ) from None


def _copy(database: RunDatabase, name: str, target: "duckdb.DuckDBPyConnection") -> int:
    n_rows = 0
    with closing(database.stream(f"FROM {_quoted(name)}")) as batches:
        for number, batch in enumerate(batches):
            target.register("batch", pa.Table.from_batches([batch]))
            verb = f"INSERT INTO {_quoted(name)}" if number else f"CREATE TABLE {_quoted(name)} AS"
            target.execute(f"{verb} FROM batch")
            target.unregister("batch")
            n_rows += batch.num_rows
    return n_rows


def _comment(
    target: "duckdb.DuckDBPyConnection", *, table_name: str, column_name: str | None, comment: str
) -> None:
    named = f"TABLE {_quoted(table_name)}"
    if column_name is not None:
        named = f"COLUMN {_quoted(table_name)}.{_quoted(column_name)}"
    text = comment.replace("'", "''")
    target.execute(f"COMMENT ON {named} IS '{text}'")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
