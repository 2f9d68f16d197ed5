"""Rows as Arrow, pandas, polars and Python values."""

import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pytest

from clip_adapter.errors import ParameterError, UnavailableError, UnknownNameError
from clip_adapter.runs import QueryResult, RunResult, RunStore, RunStoreError, connect
from clip_adapter.runs.column_types import Types


def answer(root: Path, sql: str) -> QueryResult:
    with connect(root) as database:
        return database.sql(sql)


def test_rows_are_had_in_every_form(tmp_path: Path) -> None:
    found = answer(tmp_path, "select 1 as n, 'gda' as method union all select 2, null order by n")
    assert len(found) == 2
    assert found.columns == ["n", "method"]
    assert found.fetchall() == [(1, "gda"), (2, None)]
    assert found.to_arrow().to_pylist() == [{"n": 1, "method": "gda"}, {"n": 2, "method": None}]
    assert found.to_pandas()["n"].tolist() == [1, 2]
    assert pa.table(found).num_rows == 2
    assert repr(found) == "QueryResult(2 rows of n, method)"


@pytest.mark.skipif(find_spec("polars") is None, reason="polars is not installed")
def test_rows_are_a_data_frame_of_polars(tmp_path: Path) -> None:
    found = answer(tmp_path, "select 1 as n, [1, 2] as numbers").to_polars()
    assert found.rows() == [(1, [1, 2])]
    with pytest.raises(RunStoreError, match="a name of its own"):
        answer(tmp_path, "select 1 as a, 2 as a").to_polars()


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_package_that_is_absent_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    found = answer(tmp_path, "select 1")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("clip_adapter.runs.query_result.find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match=rf"pip install 'clip-adapter\[{package}\]'"):
        getattr(found, f"to_{package}")()


def test_a_result_outlives_its_database_and_the_next_statement(tmp_path: Path) -> None:
    with connect(tmp_path) as database:
        first = database.sql("select 1")
        second = database.sql("select 2")
    assert (first.fetchall(), second.fetchall()) == ([(1,)], [(2,)])


def test_a_notebook_shows_text_as_text(tmp_path: Path) -> None:
    shown = answer(tmp_path, "select '<b>' || chr(27) as x, 'infinity'::date as d")._repr_html_()
    assert "&lt;b&gt;\\x1b" in shown
    assert "infinity" in shown
    many = answer(tmp_path, "from range(1000)")._repr_html_()
    assert many.count("<tr>") == 11
    assert "and 990 more" in many


def test_a_printed_result_shows_its_first_rows(tmp_path: Path) -> None:
    found = answer(
        tmp_path, "select 'gda' as method, 2/3 as accuracy union all select chr(27), null"
    )
    assert str(found).splitlines() == [
        "method  accuracy",
        "gda     0.6667",
        "\\x1b",
        "2 rows",
    ]
    many = str(answer(tmp_path, "select range as n, {'a': interval 1 day} as s from range(1000)"))
    assert len(many.splitlines()) == 12
    assert many.endswith("\n1,000 rows, 990 of them not shown")
    assert str(answer(tmp_path, "select 1 as a, 2 as a where false")) == "a  a\n0 rows"


def test_a_saved_question_is_asked_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "questions").mkdir()
    text = "-- Numbers.\n-- $most = 3: largest\n-- $name: text\nselect range as n, $name as name from range($most)"
    (tmp_path / "questions" / "numbers.sql").write_text(text)
    with connect(tmp_path) as database:
        assert database.question("numbers", most=1, name="a").fetchall() == [(0, "a")]
        assert database.question("hard-classes", shots=16).columns[0] == "dataset"
        assert len(database.question("store-contents")) == 0
        with pytest.raises(UnknownNameError, match="did you mean 'hard-classes'"):
            database.question("hard-clases")
        with pytest.raises(RunStoreError, match="give it as name=VALUE"):
            database.question("numbers")


def test_values_without_a_python_type_say_what_to_do(tmp_path: Path) -> None:
    found = answer(tmp_path, "select 'infinity'::date as d, union_value(a := 1) as u")
    with pytest.raises(RunStoreError, match="column::VARCHAR"):
        found.to_pandas()


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        (
            "340282366920938463463374607431768211455::uhugeint",
            "340282366920938463463374607431768211455",
        ),
        ("'101'::bit", "101"),
        ("'12:00:00+02'::timetz", "12:00:00+02"),
        ("3::bignum", "3"),
        ("['101'::bit]", ["101"]),
        ("{'a b\"c': '1'::bit, 'd': 2}", {'a b"c': "1", "d": 2}),
    ],
)
def test_what_arrow_would_get_wrong_is_text(tmp_path: Path, sql: str, text: object) -> None:
    assert answer(tmp_path, f"select {sql} as x").to_arrow()["x"].to_pylist() == [text]


def test_what_arrow_has_keeps_its_type(tmp_path: Path) -> None:
    sql = "select date '2026-11-30' as day, 1.5 as ratio, 0.1::float as single, sum(2) as total"
    found = answer(tmp_path, sql).to_arrow()
    assert found.schema.types == [pa.date32(), pa.decimal128(2, 1), pa.float32(), pa.int64()]
    assert found.to_pylist()[0]["day"] == date(2026, 11, 30)
    assert found.to_pylist()[0]["ratio"] == Decimal("1.5")


def test_batches_come_as_they_are_made(tmp_path: Path) -> None:
    with connect(tmp_path) as database:
        batches = database.stream("select * from range(1000000) a, range(1000000) b")
        assert next(batches).num_rows > 0
        batches.close()
        assert database.query("select 1 as n").to_pylist() == [{"n": 1}]


def test_no_rows_are_one_empty_batch_with_the_columns(tmp_path: Path) -> None:
    with connect(tmp_path) as database:
        (batch,) = database.stream("select 1 as a, 2 as a where false", types=Types.TEXT)
    assert batch.num_rows == 0
    assert batch.schema.names == ["a", "a"]


@pytest.mark.parametrize("condition", ["true", "false"])
def test_sums_are_integers_for_parquet_too(tmp_path: Path, condition: str) -> None:
    with connect(tmp_path) as database:
        sums = f"select sum(range) as a, interval 1 day as a from range(3) having {condition}"
        (batch,) = database.stream(sums, types=Types.PARQUET)
    assert batch.schema.types == [pa.int64(), pa.string()]
    assert batch.schema.names == ["a", "a"]


def test_an_error_in_the_middle_of_the_rows_is_one_of_the_library(tmp_path: Path) -> None:
    late = "select case when range = 900000 then error('late') end from range(1000000)"
    with connect(tmp_path) as database, pytest.raises(RunStoreError, match="late"):
        list(database.stream(late))


def test_more_memory_than_allowed_is_an_error_that_says_how_to_get_more(tmp_path: Path) -> None:
    advice = r"needs more than 60MB of memory: .*--max-memory, in Python max_memory of connect"
    with connect(tmp_path, max_memory="60MB") as database:
        with pytest.raises(RunStoreError, match=advice):
            database.sql("select list(range) from range(100000000)")
        with pytest.raises(RunStoreError, match=advice):
            database.sql("from range(100000000)")
        assert database.sql("select 1").fetchall() == [(1,)]


@pytest.mark.parametrize("size", ["", "much", "8", "0GB", "1KB", "150%", "8GB'; select 1; --"])
def test_what_is_no_size_is_refused(tmp_path: Path, size: str) -> None:
    with pytest.raises(ParameterError, match="expected at least 50MB, with its unit"):
        connect(tmp_path, max_memory=size)


@pytest.mark.parametrize("size", ["500MB", "0.5GB", "1 GiB", "25%"])
def test_a_size_is_a_number_with_its_unit(tmp_path: Path, size: str) -> None:
    connect(tmp_path, max_memory=size).close()


def test_time_that_the_caller_takes_does_not_count(
    tmp_path: Path, result_of: Callable[..., RunResult]
) -> None:
    RunStore(tmp_path).record([result_of(1)])
    with connect(tmp_path) as database:
        rows = database.stream("from range(200000)", max_seconds=30)
        assert sum(batch.num_rows for batch in rows) == 200_000
        with pytest.raises(RunStoreError, match=r"stopped after 0\.3 s: .*--max-seconds"):
            list(
                database.stream(
                    "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
                    max_seconds=0.3,
                )
            )
