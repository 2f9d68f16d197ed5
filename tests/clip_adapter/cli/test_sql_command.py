"""What clip-adapter sql is asked: statements, files, standard input, questions with names, an export."""

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest

from clip_adapter.runs import view_names

Command = Callable[..., Any]
QUESTION = """\
-- Numbers up to one.
-- $most = 3: the largest
SELECT range AS n FROM range($most)
"""


@pytest.fixture(name="sql")
def _sql(command: Command, root: Path) -> Command:
    root.mkdir()
    return partial(command, "sql", "--root", root)


def test_the_statements_of_a_file_are_run_in_turn(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "some.sql"
    file.write_text("select 1 as a; -- and\nselect $x as b;")
    asked = sql("--file", file, "--parameter", "x=two", "--format", "csv")
    assert asked.out.split() == ["a", "1", "b", "two"]
    several = sql("--file", file, "-p", "x=2", "--output", tmp_path / "rows.csv")
    assert (several.code, several.out) == (1, "")
    assert "found 2 statements for one file" in several.err


def test_a_file_declares_parameters(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "numbers.sql"
    file.write_text(QUESTION)
    assert sql("-f", file, "--format", "csv").out.split() == ["n", "0", "1", "2"]
    assert sql("-f", file, "-p", "most=1", "--format", "csv").out.split() == ["n", "0"]
    assert "did you mean 'most'" in sql("-f", file, "-p", "mots=1").err


def test_what_comes_through_a_pipe_is_run(sql: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("select 1 as a;\nselect 2 as b"))
    assert sql("--format", "csv").out.split() == ["a", "1", "b", "2"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert "found 0 statements" in sql().err


def test_a_question_with_a_name_is_run(sql: Command, root: Path) -> None:
    asked = sql("--question", "hard-classes", "-p", "shots=16", "--format", "csv")
    assert (asked.code, asked.out.split(",")[0]) == (0, "dataset")
    assert "did you mean 'hard-classes'" in sql("-q", "hard-clases").err
    (root / "questions").mkdir()
    (root / "questions" / "numbers.sql").write_text(QUESTION)
    assert sql("-q", "numbers", "--format", "csv").out.split() == ["n", "0", "1", "2"]
    listed = sql("--questions", "--format", "jsonl").out.splitlines()
    assert {"numbers", "hard-classes"} <= {json.loads(line)["question"] for line in listed}


def test_questions_that_cannot_be_used_are_warned_of_and_the_others_listed(
    sql: Command, root: Path
) -> None:
    (root / "questions").mkdir()
    for name in ("numbers", "My_Q", "hard-classes"):
        (root / "questions" / f"{name}.sql").write_text(QUESTION)
    (root / "questions" / "broken.sql").write_text("-- Rows.\nselect from where")
    listed = sql("--questions", "--format", "jsonl")
    assert listed.code == 0
    names = [json.loads(line)["question"] for line in listed.out.splitlines()]
    assert names[-1] == "numbers"
    assert names.count("hard-classes") == 1
    warnings = listed.err.splitlines()
    assert [line.partition(" cannot be used")[0].rpartition("/")[2] for line in warnings] == [
        "My_Q.sql",
        "broken.sql",
        "hard-classes.sql",
    ]
    assert all(line.startswith("warning: ") for line in warnings)
    assert "rename the file, as my-q.sql" in warnings[0]
    assert sql("-q", "numbers").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["select 1", "--questions"], "found a statement and --questions: expected one of them"),
        (["-q", "hard-classes", "--export", "x.duckdb"], "expected one of them"),
        (
            ["--file", "nowhere.sql"],
            "error: there is no file nowhere.sql: expected a file of SQL",
        ),
        (["--file", "."], "there is no file"),
        (
            ["-q", "hard-classes", "-p", "top=five"],
            "the parameter 'top' of the question 'hard-classes' has the value 'five': expected a number",
        ),
        (["select 1 limit $n", "-p", "n=five"], "the value of $n is of the wrong type"),
        (["--questions", "-p", "x=1"], "--parameter has no statement"),
        (["--export", "x.duckdb", "--format", "csv"], "leave out --format"),
        (["select 1", "-p", "x=1"], "unknown parameter 'x'"),
        (["select $x"], "$x"),
        (["select 1; select"], "Parser Error"),
        (["drop view runs"], "type DROP"),
        (["select 1; drop view runs"], "type DROP"),
        ([" ; "], "found 0 statements"),
        (["select 1", "--max-memory", "lots"], "no size of memory"),
        (["select 1", "-o", "rows.txt"], "names no format"),
        (["select 1", "--format", "parquet"], "written to a file"),
        (
            ["from range(1e12::bigint) order by hash(range)", "--max-seconds", "0.3"],
            "--max-seconds",
        ),
        (
            ["select list(range) from range(1e9::bigint)", "--max-memory", "60MB"],
            "needs more than 60MB of memory: ask for less, or allow more (--max-memory",
        ),
        (["select error('no')"], "no"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    sql: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = sql(*arguments)
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.startswith("error: ")
    assert message in refused.err
    assert refused.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_parameter_of_another_form_is_wrong_usage(sql: Command) -> None:
    assert sql("select 1", "-p", "x").code == 2


def test_a_format_is_named_as_files_are_or_suggested(sql: Command) -> None:
    assert sql("select 1 as n", "--format", "md").out == "| n |\n|--:|\n| 1 |\n"
    wrong = sql("select 1", "--format", "jsnl")
    assert wrong.code == 2
    assert "did you mean 'jsonl'" in " ".join(wrong.err.split())


def test_a_file_is_written_once(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.md"
    written = sql("select 1 as n", "-o", file)
    assert (written.code, written.out, file.read_text()) == (0, "", "| n |\n|--:|\n| 1 |\n")
    assert f"1 row written to {file}" in written.err
    assert "--overwrite" in sql("select 2 as n", "-o", file).err
    assert sql("select 2 as n", "-o", file, "--overwrite").code == 0
    assert file.read_text().endswith("| 2 |\n")


def test_a_statement_that_fails_leaves_the_file_as_it_was(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("before")
    late = "select case when range = 900000 then error('late') end from range(1000000)"
    failed = sql(late, "-o", file, "--overwrite")
    assert (failed.code, "late" in failed.err) == (1, True)
    assert file.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "store"]


def test_the_views_are_exported_as_tables_of_a_duckdb_file(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "it's results.duckdb"
    exported = sql("--export", file)
    assert (exported.code, exported.out) == (0, "")
    assert "tables with 0 rows" in exported.err
    with duckdb.connect(str(file), read_only=True) as connection:
        tables = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
        version = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal")
        assert "v1.0.0" in str(version.fetchall())
        columns = connection.execute("DESCRIBE leaderboard").fetchall()
    assert tables == set(view_names())
    described = json.loads(sql("DESCRIBE leaderboard", "--format", "json").out)
    assert [column[0] for column in columns] == [row["column_name"] for row in described]
    before = file.read_bytes()
    assert "--overwrite" in sql("--export", file).err
    assert file.read_bytes() == before
    assert sql("--export", file, "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, "store"]
