"""No statement reaches a file, the network, an extension, a setting or the caller's variables."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from clip_adapter.runs import RunDatabase, RunResult, RunStore, RunStoreError, connect

# {file} is a file with a secret, {new} one that does not exist, {stored} a file of the store.
READS = [
    "from read_text('{file}')",
    "from read_blob('{file}')",
    "from read_csv('{file}')",
    "from read_csv_auto('{file}')",
    "from read_csv(['{file}', '{file}'])",
    "from sniff_csv('{file}')",
    "from read_json('{file}')",
    "from read_json_auto('{file}')",
    "from read_ndjson('{file}')",
    "from read_json_objects('{file}')",
    "from read_ndjson_objects('{file}')",
    "from read_duckdb('{file}')",
    "from read_parquet('{stored}')",
    "from parquet_scan('{stored}')",
    "from parquet_metadata('{stored}')",
    "from parquet_schema('{stored}')",
    "from parquet_file_metadata('{stored}')",
    "from parquet_kv_metadata('{stored}')",
    "from parquet_bloom_probe('{stored}', 'run_id', 'x')",
    "from '{file}'",
    'from "{file}"',
    "from '{stored}'",
    "from '{folder}/*.csv'",
    "from glob('{folder}/*')",
    "from glob('/**')",
    "from read_text('{folder}/*')",
    "from read_text('file://{file}')",
    "from read_text('/proc/self/environ')",
    "from read_text('/dev/stdin')",
    "select (select content from read_text('{file}'))",
    "select * from runs where run_id in (select content from read_text('{file}'))",
    "from runs, lateral (from read_text('{file}'))",
    "with x as (from read_text('{file}')) from x",
    "with recursive x as (from read_text('{file}') union all from x) from x",
    "values ((select content from read_text('{file}')))",
    "pivot (from read_text('{file}')) on filename using first(content)",
    "unpivot (from read_text('{file}')) on content",
    "describe from read_text('{file}')",
    "summarize '{file}'",
    "explain analyze from read_text('{file}')",
    "from query('from read_text(''{file}'')')",
    "from query_table('{file}')",
    "from query_table(['runs', '{file}'])",
    "from json_execute_serialized_sql(json_serialize_sql('from read_text(''{file}'')'))",
    "from duckdb_extensions()",
]
WRITES = [
    "copy (select 1) to '{new}'",
    "copy runs from '{file}'",
    "with x as (copy (select 1 as a) to '{new}') select 1",
    "with x as (copy (select 1 as a) to '{file}' (use_tmp_file false)) select 1",
    "with x as (copy (select 1 as a) to '{folder}' (format parquet, partition_by (a))) select 1",
    "with x as materialized (copy runs to '{new}') from x",
    "from (with x as (copy (select 1 as a) to '{new}') select 1)",
    "explain analyze with x as (copy (select 1 as a) to '{new}') select 1",
    "from query('copy (select 1) to ''{new}''')",
    "export database '{new}'",
    "import database '{folder}'",
    "attach '{new}'",
    "attach '{new}' as other (type duckdb)",
    "from query('attach ''{new}''')",
    "with x as (attach '{new}') select 1",
    "create table t as from runs",
    "create view v as from read_text('{file}')",
    "create macro m() as table from read_text('{file}')",
    "with x as (insert into runs values (1)) select 1",
    "with x as (delete from stored.requests returning 1) from x",
    "with x as (update stored.requests set sequence = 9 returning 1) from x",
    "with x as (insert into stored.files select * from stored.files returning 1) from files, x",
    "with x as (delete from stored.runs_in_files returning 1) from x",
    "with x as (delete from runs) select 1",
    "with x as (update runs set seed = 1) select 1",
    "drop view runs",
    "checkpoint",
    "from force_checkpoint()",
]
BEYOND_THE_STORE = [
    "from read_text('store://runs/../../../secret.csv')",
    "from read_csv('store://runs/../secret.csv')",
    "from 'store://secret.csv'",
    "from read_parquet('store://nowhere/*')",
    "with x as (copy (select 1 as a) to 'store://runs/x.parquet') select 1",
    "with x as (copy (select 1 as a) to 'store://../new.parquet') select 1",
    "with x as (copy (select 1 as a) to 'store://{new}') select 1",
    "attach 'store://runs/x.duckdb'",
]
NETWORK = [
    "from read_csv('http://127.0.0.1:9/x.csv')",
    "from 'https://127.0.0.1:9/x.parquet'",
    "from read_parquet('s3://bucket/x.parquet')",
    "from read_text('hf://datasets/x/y/z.txt')",
    "attach 'http://127.0.0.1:9/x.duckdb'",
    "from postgres_scan('host=127.0.0.1', 'public', 't')",
    "from sqlite_scan('{file}', 't')",
    "from mysql_query('x', 'select 1')",
]
EXTENSIONS_AND_SETTINGS = [
    "install httpfs",
    "load httpfs",
    "load '{file}'",
    "force install spatial from 'http://127.0.0.1:9'",
    "with x as (load httpfs) select 1",
    "from st_read('{file}')",
    "from iceberg_scan('{file}')",
    "from load_aws_credentials()",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set global python_enable_replacements = true",
    "set memory_limit = '1TB'",
    "set temp_directory = '{folder}'",
    "reset enable_external_access",
    "set variable x = 1",
    "pragma enable_profiling",
    "pragma database_list",
    "call enable_logging()",
    "from enable_logging()",
    "from enable_profiling()",
    "from query('set threads = 1')",
    "create secret s (type s3, key_id 'a', secret 'b')",
    "create persistent secret s (type s3)",
    "select set_config('threads', '1')",
    "select getenv('HOME')",
    "use memory.main",
    "prepare p as select 1",
    "select 1; from read_text('{file}')",
]
VARIABLES = [
    "from frame",
    "from table_of_secrets",
    "from os",
    "from arrow_scan(1, 1, 1)",
    "from pandas_scan(1)",
    "from python_map_function(1)",
    "select * from runs, frame",
]
SECRET = "swordfish"  # noqa: S105  # of a file that no statement reads


@pytest.fixture(scope="module", name="root")
def _root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sealed") / "store"


@pytest.fixture(scope="module", name="database")
def _database(root: Path, result_of: Callable[..., RunResult]) -> Iterator[RunDatabase]:
    """One connection for all: nothing that is refused changes it."""
    RunStore(root).record([result_of(1)])
    with connect(root) as database:
        yield database


@pytest.mark.parametrize(
    "statement",
    [*READS, *WRITES, *BEYOND_THE_STORE, *NETWORK, *EXTENSIONS_AND_SETTINGS, *VARIABLES],
)
def test_a_way_out_is_closed(
    database: RunDatabase, root: Path, tmp_path: Path, statement: str
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text(f"{SECRET}\n")
    table_of_secrets = pa.table({"secret": [SECRET]})
    frame = table_of_secrets.to_pandas()
    places = {
        "file": file,
        "new": tmp_path / "new.parquet",
        "folder": tmp_path,
        "stored": next(root.rglob("*.parquet")),
    }
    before = contents(tmp_path), contents(root)
    assert answers(database)
    with pytest.raises(RunStoreError) as raised:
        database.query(statement.format(**places), max_seconds=20)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (contents(tmp_path), contents(root)) == before
    assert len(frame) == table_of_secrets.num_rows
    assert answers(database)


@pytest.mark.parametrize(
    "listing", ["duckdb_secrets()", "duckdb_logs()", "duckdb_temporary_files()"]
)
def test_there_is_nothing_to_list(database: RunDatabase, listing: str) -> None:
    assert database.query(f"from {listing}").num_rows == 0


@pytest.mark.parametrize("path", ["../secret.csv", "{file}", "/{file}", "runs/nothing", "*", "**"])
def test_a_path_in_the_store_leads_to_no_other_file(
    database: RunDatabase, tmp_path: Path, path: str
) -> None:
    file = tmp_path / "secret.csv"
    file.write_text(SECRET)
    assert database.query(f"from read_text('store://{path.format(file=file)}')").num_rows == 0


def test_a_variable_of_the_environment_is_in_no_setting(
    database: RunDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    rows = database.query("from duckdb_settings()").to_pylist()
    assert SECRET in os.environ.values()
    assert SECRET not in str(rows)


def test_an_escape_that_parses_as_a_question_is_executed_and_still_closed(
    database: RunDatabase, tmp_path: Path
) -> None:
    """The check of the statement's type alone would let it pass."""
    statement = f"with x as (copy (select 1 as a) to '{tmp_path / 'new.csv'}') select 1"
    with pytest.raises(RunStoreError, match="Permission Error"):
        database.query(statement)
    assert not (tmp_path / "new.csv").exists()


def answers(database: RunDatabase) -> bool:
    return database.query("select count(*) as n from runs").to_pylist() == [{"n": 1}]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
