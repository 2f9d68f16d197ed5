import math
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from clip_adapter.runs import (
    ImagePredictions,
    RequestRecord,
    RunResult,
    RunStore,
    RunStoreError,
    connect,
    query,
    view_names,
)
from feature_cache import compact_folder, list_files, read_table, stored_folders, write_table
from feature_cache.errors import CorruptFileError

ResultOf = Callable[..., RunResult]
HOSTILE = 'it\'s; "DROP" --[a]*?{b} /*'


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("view", view_names())
def test_every_view_of_an_empty_store_is_empty_and_typed(tmp_path: Path, view: str) -> None:
    found = query(tmp_path, f"from {view}")
    assert found.num_rows == 0
    assert all(field.type != pa.null() for field in found.schema)


@pytest.mark.parametrize(
    "listing",
    [
        "SHOW TABLES",
        "SELECT name FROM (SHOW ALL TABLES), runs",
        "SELECT view_name AS name FROM duckdb_views()",
        "SELECT table_name AS name FROM information_schema.tables WHERE table_name <> 'runs'",
    ],
)
def test_all_views_are_listed_whatever_was_asked_before(
    tmp_path: Path, result_of: ResultOf, listing: str
) -> None:
    RunStore(tmp_path).record([result_of(1)])
    with connect(tmp_path) as database:
        database.query("from leaderboard")
        assert {*database.query(listing)["name"].to_pylist()} >= {*view_names()} - {"runs"}


@pytest.mark.parametrize(
    "sql",
    [
        'from "Leaderboard"',
        "from query_table('leader' || 'board') semi join runs using (dataset)",
        "from query('from leader' || 'board') semi join runs using (dataset)",
        "with runs as (select 1 as one) from leaderboard, runs",
        "describe leaderboard",
        "summarize leaderboard",
    ],
)
def test_a_view_is_found_however_it_is_named(tmp_path: Path, sql: str) -> None:
    assert query(tmp_path, sql).num_columns > 1


def test_a_leaderboard_without_runs_has_the_columns_of_one_with_runs(
    tmp_path: Path, result_of: ResultOf
) -> None:
    before = query(tmp_path, "from leaderboard").schema
    RunStore(tmp_path).record([result_of(1)])
    assert query(tmp_path, "from leaderboard").schema == before
    assert before.field("accuracy_mean").type == pa.float64()
    assert before.field("last_run").type == pa.timestamp("us", tz="UTC")


def test_a_missing_root_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError, match=r"no store at .*nowhere: .*\(--root, in Python root\)"):
        query(tmp_path / "nowhere", "select 1")


def test_a_long_question_draws_no_bar_into_the_answer(tmp_path: Path) -> None:
    asked = query(tmp_path, "SELECT current_setting('enable_progress_bar') AS drawn")
    assert asked.to_pylist() == [{"drawn": False}]


def test_a_notebook_without_widgets_asks_as_well(tmp_path: Path) -> None:
    """DuckDB takes a process for a notebook whose IPython runs in a kernel, as this one claims."""
    code = f"""
import sys, types
ipython = types.ModuleType("IPython")
ipython.get_ipython = lambda: types.SimpleNamespace(config={{"IPKernelApp": {{}}}})
sys.modules.update(IPython=ipython, ipywidgets=None)
from clip_adapter import connect
with connect({str(tmp_path)!r}) as database:
    print(database.query("SELECT current_setting('enable_progress_bar') AS drawn").to_pylist())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "[{'drawn': False}]\n")


def test_asking_writes_nothing(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1)])
    before = contents(tmp_path)
    query(tmp_path, "from leaderboard")
    assert contents(tmp_path) == before


def test_a_root_with_quotes_and_wildcards_in_its_name_is_just_a_folder(
    tmp_path: Path, result_of: ResultOf
) -> None:
    root = tmp_path / HOSTILE.replace("/", "")
    RunStore(root).record([result_of(1)])
    assert query(root, "select run_id from runs").num_rows == 1


def test_a_hostile_class_name_is_just_text(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1, class_names=(HOSTILE, "'); drop view runs; --"))])
    found = query(tmp_path, "select unnest(class_names) as name from runs")
    assert found["name"].to_pylist() == [HOSTILE, "'); drop view runs; --"]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "from read_csv('/etc/passwd')",
        "from glob('/*')",
        "from read_parquet('https://example.org/x.parquet')",
        "from read_blob('{file}')",
        "with x as (copy (select 1 as a) to '{new}') select 1",
        "with x as (copy (select 1 as a) to '{file}' (use_tmp_file false)) select 1",
    ],
)
def test_no_question_reaches_a_file(tmp_path: Path, result_of: ResultOf, sql: str) -> None:
    (file, *_) = RunStore(tmp_path).record([result_of(1)])
    before = contents(tmp_path)
    with pytest.raises(RunStoreError):
        query(tmp_path, sql.format(file=file, new=tmp_path / "new.parquet"))
    assert contents(tmp_path) == before


def test_variables_of_the_caller_are_out_of_reach(tmp_path: Path) -> None:
    secret = pa.table({"password": ["swordfish"]})
    with pytest.raises(RunStoreError, match="no view 'secret'"):
        query(tmp_path, "from secret")
    assert secret.num_rows == 1


def test_an_open_database_cannot_be_unlocked(tmp_path: Path) -> None:
    with connect(tmp_path) as database, pytest.raises(RunStoreError, match="type SET"):
        database.query("set enable_external_access = true")


def test_a_misspelt_view_names_the_nearest_and_all(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError) as raised:
        query(tmp_path, "from leaderbord")
    message = str(raised.value)
    assert message.startswith("there is no view 'leaderbord': did you mean leaderboard?")
    assert "\n" not in message
    assert all(view in message for view in view_names())


def test_a_misspelt_column_names_the_candidates_on_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError) as raised:
        query(tmp_path, "select acuracy_mean from leaderboard")
    assert "accuracy_mean" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_runaway_question_is_stopped(tmp_path: Path) -> None:
    endless = "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"
    with pytest.raises(RunStoreError, match=r"stopped after 0\.2 s"):
        query(tmp_path, endless, max_seconds=0.2)


def test_a_question_in_time_is_answered(tmp_path: Path) -> None:
    assert query(tmp_path, "select 1 as one", max_seconds=60).to_pylist() == [{"one": 1}]


def test_sums_of_integers_are_integers(tmp_path: Path) -> None:
    found = query(tmp_path, "select sum(range) as s, sum(range) * 10**20 as f from range(4)")
    assert found.schema.field("s").type == pa.int64()
    assert found["s"].to_pylist() == [6]


def test_sums_beyond_64_bits_are_kept(tmp_path: Path) -> None:
    found = query(tmp_path, "select sum(x) as s from (values (9223372036854775807), (1)) t(x)")
    assert found["s"].to_pylist() == [2**63]


@pytest.mark.parametrize("sql", ["describe runs", "summarize runs", "explain from leaderboard"])
def test_a_store_can_be_looked_around_in(tmp_path: Path, sql: str) -> None:
    assert query(tmp_path, sql).num_rows > 0


def test_a_pivot_is_a_question(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1, shots=1), result_of(2, shots=16, accuracy=0.75)])
    sql = "pivot leaderboard on shots using first(accuracy_mean) group by method"
    assert query(tmp_path, sql).to_pylist() == [{"method": "clip-adapter", "1": 0.5, "16": 0.75}]


def test_a_damaged_file_is_named_when_a_question_needs_it(
    tmp_path: Path, result_of: ResultOf
) -> None:
    metrics, _ = RunStore(tmp_path).record([result_of(1)])
    damaged = bytearray(metrics.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    metrics.write_bytes(damaged)
    with connect(tmp_path) as database:
        with pytest.raises(CorruptFileError, match=metrics.name):
            database.query("from leaderboard")
        assert database.query("from runs").num_rows == 1


def test_a_database_shows_the_store_as_it_was_opened(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1)])
    with connect(tmp_path) as database:
        RunStore(tmp_path).record([result_of(2)])
        assert database.query("from runs").num_rows == 1
    assert query(tmp_path, "from runs").num_rows == 2


def test_a_value_is_bound_as_a_parameter(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1, method=HOSTILE), result_of(2)])
    asked = "SELECT run_id FROM runs WHERE method = $method AND run_id IN $ids"
    ids = [f"{1:032x}", f"{2:032x}"]
    found = query(tmp_path, asked, {"method": HOSTILE, "ids": ids})
    assert found["run_id"].to_pylist() == ids[:1]
    assert query(tmp_path, asked, {"method": HOSTILE, "ids": []}).num_rows == 0
    with pytest.raises(RunStoreError, match="ids"):
        query(tmp_path, asked, {"method": HOSTILE})


def test_an_open_database_answers_again_and_again(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([result_of(1)])
    RunStore(tmp_path).record([result_of(2)])
    with connect(tmp_path) as database:
        answers = [database.query("from runs").num_rows for _ in range(3)]
    assert answers == [2, 2, 2]


def test_closing_a_database_twice_is_harmless(tmp_path: Path) -> None:
    database = connect(tmp_path)
    database.close()
    database.close()


def test_a_program_that_asks_ends_silently(tmp_path: Path) -> None:
    """DuckDB's bindings complain on the terminal about connections that were left open."""
    program = (
        "from pathlib import Path; from clip_adapter.runs import RunStoreError, query\n"
        f"query(Path({str(tmp_path)!r}), 'from leaderboard')\n"
        f"try: query(Path({str(tmp_path)!r}), 'from nowhere')\n"
        "except RunStoreError: pass\n"
    )
    checkout = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_files_that_are_merged_after_opening_are_read_where_they_are_now(
    tmp_path: Path, result_of: ResultOf
) -> None:
    RunStore(tmp_path).record([result_of(1)])
    RunStore(tmp_path).record([result_of(2)])
    with connect(tmp_path) as database:
        assert database.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 2}]
        for folder in stored_folders(tmp_path):
            compact_folder(folder)
        rows = database.query("FROM runs JOIN metrics USING (run_id) WHERE name = 'nll'")
        assert rows.num_rows == 2
        assert database.query("FROM leaderboard").num_rows == 1


@pytest.mark.parametrize("is_merging", [True, False])
@pytest.mark.parametrize("is_unfinished", [True, False])
def test_rows_of_a_run_count_once_and_with_its_own_row_alone(
    tmp_path: Path,
    result_of: ResultOf,
    predictions_of: Callable[..., ImagePredictions],
    is_merging: bool,  # noqa: FBT001  # a parameter of the test
    is_unfinished: bool,  # noqa: FBT001  # as above
) -> None:
    results = [
        replace(result_of(number), predictions=predictions_of(0, 1), curves={"loss": [1.0]})
        for number in (1, 2, 3)
    ]
    *_, row_of_third = [RunStore(tmp_path).record([result]) for result in results][-1]
    if is_unfinished:  # the process was killed before it wrote the row of run 3
        Path(str(row_of_third)).unlink()
    tables = ("runs", "metrics", "curves", "predictions")
    if is_merging:  # the files that were merged are not removed yet
        for table in tables:
            folder = tmp_path / "runs" / table
            rows = [read_table(path, kind=table) for path in list_files(folder)]
            write_table(folder, pa.concat_tables(rows), kind=table, stamp="merged")
    found = {table: query(tmp_path, f"FROM {table}").num_rows for table in tables}
    n_runs = 2 if is_unfinished else 3
    rows_a_run = {"runs": 1, "metrics": 2, "curves": 1, "predictions": 2}
    assert found == {table: n_runs * rows_a_run[table] for table in tables}
    seeds = query(tmp_path, "SELECT sum(seeds) AS n FROM leaderboard").to_pylist()
    assert seeds == [{"n": n_runs}]


def test_many_requests_in_files_of_their_own_are_all_found(
    root: Path, ask_for: Callable[..., RequestRecord]
) -> None:
    for number in range(1, 21):
        ask_for(number)
    found = query(root, "SELECT count(*) AS n, max(sequence) AS last FROM requests").to_pylist()
    assert found == [{"n": 20, "last": 20}]


def test_rows_are_estimated_from_the_largest_file(tmp_path: Path, result_of: ResultOf) -> None:
    # Of twelve files with a digest for a name, the largest is hardly the first by chance.
    RunStore(tmp_path).record([result_of(number) for number in range(100, 200)])
    for number in range(1, 12):
        RunStore(tmp_path).record([result_of(number)])
    plan = query(tmp_path, "EXPLAIN SELECT run_id FROM runs").to_pylist()[0]["explain_value"]
    assert "1,200 rows" in plan


def test_a_file_that_vanished_for_good_is_missed_and_not_waited_for(
    tmp_path: Path, result_of: ResultOf
) -> None:
    RunStore(tmp_path).record([result_of(1)])
    RunStore(tmp_path).record([result_of(2)])
    with connect(tmp_path) as database:
        next((tmp_path / "runs" / "runs").iterdir()).unlink()
        assert database.query("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 1}]


def test_names_are_listed_whatever_state_the_files_are_in(
    tmp_path: Path, result_of: ResultOf
) -> None:
    for path in RunStore(tmp_path).record([result_of(1)]):
        path.write_bytes(b"damaged")
    with connect(tmp_path) as database:
        assert {*database.query("SHOW TABLES")["name"].to_pylist()} == {*view_names()}
        assert database.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]
        with pytest.raises(CorruptFileError):
            database.query("FROM leaderboard")


def test_closing_stops_what_runs_in_another_thread(tmp_path: Path) -> None:
    database = connect(tmp_path)
    endless = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(database.query, endless)
        with pytest.raises(TimeoutError):
            running.result(timeout=0.5)
        database.close()
        with pytest.raises(RunStoreError, match="the database was closed"):
            running.result(timeout=30)


def test_a_database_answers_one_stream_at_a_time(tmp_path: Path) -> None:
    with connect(tmp_path) as database:
        rows = database.stream("FROM range(200000)")
        next(rows)
        with pytest.raises(RunStoreError, match="rows of another statement are still being read"):
            database.query("SELECT 1")
        rows.close()
        assert database.query("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_infinity_is_no_limit_of_time(tmp_path: Path) -> None:
    assert query(tmp_path, "SELECT 1 AS one", max_seconds=math.inf).num_rows == 1


def test_text_that_is_no_unicode_is_no_statement(tmp_path: Path) -> None:
    with pytest.raises(RunStoreError, match="no UTF-8 text"):
        query(tmp_path, "SELECT '\udcff'")
