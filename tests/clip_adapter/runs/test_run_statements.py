import pytest

from clip_adapter.runs import RunStoreError
from clip_adapter.runs.statements import check_question

QUESTIONS = [
    "select 1",
    "SELECT 1;",
    "with a as (select 1 as x) select * from a",
    "from runs",
    "values (1), (2)",
    "describe leaderboard",
    "show tables",
    "summarize runs",
    "pivot leaderboard on shots using first(accuracy_mean)",
    "pivot leaderboard on shots using first(accuracy_mean);",
    "explain from runs",
    "explain analyze from runs",
    "-- why\nEXPLAIN /* really */ (format json) select 1",
]
ORDERS = [
    "copy (select 1) to 'x'",
    "copy (pivot runs on shots) to 'x'",
    "attach 'x'",
    "set threads = 1",
    "reset threads",
    "install httpfs",
    "load httpfs",
    "pragma version",
    "call pragma_version()",
    "create table t (x int)",
    "create table t as pivot runs on shots",
    "insert into t values (1)",
    "insert into t pivot runs on shots",
    "delete from t",
    "drop view runs",
    "export database 'x'",
    "import database 'x'",
    "begin",
    "checkpoint",
    "vacuum",
    "prepare p as select 1",
    "explain analyze copy (select 1) to 'x'",
    "explain (analyze) copy (select 1) to 'x'",
    "explain /* ( */ analyze copy (select 1) to 'x'",
    "-- explain select 1\nexplain analyze copy (select 1) to 'x'",
    "explain analyze copy (pivot runs on shots) to 'x'",
    "explain analyze create table t as select 1",
]


@pytest.mark.parametrize("sql", QUESTIONS)
def test_a_question_is_accepted(sql: str) -> None:
    check_question(sql)


@pytest.mark.parametrize("sql", ORDERS)
def test_an_order_is_refused(sql: str) -> None:
    with pytest.raises(RunStoreError, match="expected one SELECT"):
        check_question(sql)


@pytest.mark.parametrize(
    ("sql", "count"), [("", 0), (" ;", 0), ("-- nothing", 0), ("select 1; select 2", 2)]
)
def test_exactly_one_statement_is_expected(sql: str, count: int) -> None:
    with pytest.raises(RunStoreError, match=f"found {count} statements"):
        check_question(sql)


def test_a_syntax_error_is_one_line() -> None:
    with pytest.raises(RunStoreError, match=r"^Parser Error: syntax error at or near \"selec\"$"):
        check_question("selec 1")
