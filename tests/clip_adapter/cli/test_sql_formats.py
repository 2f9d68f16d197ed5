"""Rows of every type in every format, on terminals, in pipes and in files."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_adapter.cli.result_table import print_rows
from clip_adapter.terminal import plain_console

Command = Callable[..., Any]
ESCAPES = "chr(27) || '[2J' || chr(155) || chr(8238) || chr(7)"
# The SQL of a value, and what it is in JSON; in CSV and tables it is that as text.
VALUES: dict[str, Any] = {
    "interval '1 month 3 days'": "1 month 3 days",
    "170141183460469231731687303715884105727::hugeint": 2**127 - 1,
    "340282366920938463463374607431768211455::uhugeint": str(2**128 - 1),
    "'00000000-0000-0000-0000-000000000001'::uuid": "00000000-0000-0000-0000-000000000001",
    "'2026-01-01 00:00:00.123456789'::timestamp_ns": "2026-01-01 00:00:00.123456789",
    "'2026-01-01 00:00:00'::timestamptz": "2026-01-01 00:00:00+00",
    "'infinity'::date": "infinity",
    "'-infinity'::timestamp": "-infinity",
    "'infinity'::timestamptz": "infinity",
    "'290000-01-01'::date": "290000-01-01",
    "'290000-01-01 00:00:00'::timestamp": "290000-01-01 00:00:00",
    "'0044-03-15 (BC)'::date": "0044-03-15 (BC)",
    "'101'::bit": "101",
    "'12:00:00+02'::timetz": "12:00:00+02",
    "'24:00:00'::time": "24:00:00",
    "'a'::enum('a', 'b')": "a",
    "12345678901234567890::bignum": "12345678901234567890",
    "1::variant": "1",
    "'POINT(1 1)'::geometry": "POINT (1 1)",
    "'a\\xAA'::blob": "61aa",
    "1.25": 1.25,
    "1.5::decimal(38, 10)": 1.5,
    "0.1::float": 0.1,
    "true": True,
    "union_value(a := interval 1 day)": "1 day",
    "map {[1]: 2}": {"[1]": 2},
    "map {interval 1 day: 'x'}": {"1 day": "x"},
    "{'a': {'b': interval 1 day, 'c': 1}}": {"a": {"b": "1 day", "c": 1}},
    "[{'a': 'infinity'::date}]": [{"a": "infinity"}],
    "[1, 2, null]": [1, 2, None],
    "array_value(1, 2)": [1, 2],
    "[]": [],
    "['a\\xAA'::blob]": ["61aa"],
    "['nan'::double, 1]": [None, 1.0],
    "row(1, 'a')": "(1, a)",
    "null": None,
}
ALL = "select " + ", ".join(f'{value} as "{value}"' for value in VALUES)
"""One column for each; its name is its SQL."""


@pytest.fixture(name="sql")
def _sql(command: Command, root: Path) -> Command:
    root.mkdir()
    return partial(command, "sql", "--root", root)


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_a_value_of_any_type_is_written_as_json(sql: Command, form: str) -> None:
    written = sql(ALL, "--format", form)
    assert (written.code, written.err) == (0, "")
    parsed = json.loads(written.out)
    assert (parsed[0] if form == "json" else parsed) == VALUES


def test_a_value_of_any_type_is_written_as_csv(sql: Command) -> None:
    written = sql(ALL, "--format", "csv")
    assert (written.code, written.err) == (0, "")
    (row,) = csv.DictReader(io.StringIO(written.out))
    assert row == {name: text_of(name, value) for name, value in VALUES.items()}


def test_a_value_of_any_type_is_shown_in_a_table(sql: Command) -> None:
    shown = sql(ALL)
    assert (shown.code, shown.err) == (0, "")
    for name, value in VALUES.items():
        assert f"{name} " in shown.out
        assert text_of(name, value) in shown.out


def test_a_value_of_any_type_is_written_as_markdown(sql: Command) -> None:
    written = sql(ALL, "--format", "markdown")
    assert (written.code, written.err) == (0, "")
    assert len(written.out.splitlines()) == 3


def test_a_value_of_any_type_is_written_as_parquet(sql: Command, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    assert sql(ALL, "-o", file).code == 0
    (row,) = pq.read_table(file, columns=["interval '1 month 3 days'", "true", "1.25"]).to_pylist()
    assert row == {
        "interval '1 month 3 days'": "1 month 3 days",
        "true": True,
        "1.25": Decimal("1.25"),
    }


def text_of(sql: str, value: Any) -> str:
    """A value as text; a decimal has all its digits there."""
    if "decimal" in sql:
        return "1.5000000000"
    if isinstance(value, list | dict):
        return json.dumps(value)
    return "" if value is None else str(value)


@pytest.mark.parametrize(("value", "in_csv"), [("nan", "nan"), ("inf", "inf"), ("-inf", "-inf")])
def test_what_is_no_number_is_null_in_json(sql: Command, value: str, in_csv: str) -> None:
    assert json.loads(sql(f"select '{value}'::double as x", "--format", "json").out) == [
        {"x": None}
    ]
    assert sql(f"select '{value}'::double as x", "--format", "csv").out.split() == ["x", in_csv]


@pytest.mark.parametrize("form", ["json", "jsonl", "parquet"])
def test_two_columns_of_one_name_are_refused_where_a_format_has_none(
    sql: Command, tmp_path: Path, form: str
) -> None:
    output = tmp_path / f"rows.{form}"
    refused = sql("select 1 as a, 2 as a", "-o", output)
    assert refused.code == 1
    assert "rename one with AS" in refused.err
    assert list(tmp_path.glob("*rows*")) == []
    assert sql("select 1 as a, 2 as a", "--format", "markdown").out.count("| 1 | 2 |") == 1
    assert sql("select 1 as a, 2 as a").out.split()[:2] == ["a", "a"]


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl", "markdown"])
def test_no_control_character_reaches_a_terminal(tmp_path: Path, form: str) -> None:
    statement = f"select {ESCAPES} as \"n\x1b[31m\", [{ESCAPES}] as l, {{'a': {ESCAPES}}} as s"
    shown = on_a_terminal(tmp_path, statement, "--format", form).replace("\r\n", "\n")
    # Of the table's own styles, none with NO_COLOR and a dumb terminal.
    assert "[2J" in shown
    assert all(line.isprintable() for line in shown.split("\n")), shown


def test_pipes_get_the_text_as_it_is(sql: Command) -> None:
    piped = sql(f"select {ESCAPES} as x", "--format", "csv").out
    assert list(csv.reader(io.StringIO(piped)))[1] == ["\x1b[2J\x9b\u202e\x07"]


def test_markdown_cannot_break_out_of_its_cell(sql: Command) -> None:
    out = sql("select '|' || chr(10) || '# <b>' as x, 1 as n", "--format", "markdown").out
    assert out == "| x | n |\n|---|--:|\n| \\|\\\\n\\# &lt;b&gt; | 1 |\n"


def test_a_table_is_80_columns_wide_and_cuts_no_value(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = "a folder/with spaces/" + "x" * 30 + ".jpg"
    words = " ".join(["several"] * 20)
    print_rows([pa.table({"path": [path], "reason": [words], "n": [1234567]})], plain_console())
    narrow = capsys.readouterr().out
    assert path in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert narrow.split().count("several") == 20
    assert "1234567" in narrow
    long = "/".join(["folder"] * 20)
    print_rows([pa.table({"path": [long], "digest": ["f" * 64]})], plain_console())
    blocks = capsys.readouterr().out.splitlines()
    assert blocks[0].startswith("row 1 ")
    assert blocks[1] == f"path    {long}"
    assert blocks[2] == f"digest  {'f' * 64}"


def test_many_rows_are_all_printed_and_counted(sql: Command) -> None:
    lines = sql("select range as n from range(2500)").out.splitlines()
    assert [int(line) for line in lines if line.strip().isdigit()] == [*range(2500)]
    assert lines[-1] == "2,500 rows"


def test_a_result_in_several_batches_is_one_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    batches = [
        pa.table({"method": ["gda", "tip-adapter"], "n": [1, 2]}),
        pa.table({"method": ["zero-shot (published splits)"], "n": [3]}),
        pa.table({"method": pa.array([], pa.string()), "n": pa.array([], pa.int64())}),
    ]
    print_rows(batches, plain_console())
    heading, rule, *rows, count = capsys.readouterr().out.splitlines()
    assert heading.split() == ["method", "n"]
    assert set(rule.strip()) == {"─"}
    assert [row.split()[-1] for row in rows] == ["1", "2", "3"]
    assert {len(line) for line in (heading, rule, *rows)} == {len(heading)}
    assert count == "3 rows"


def test_rows_beyond_the_first_ten_thousand_have_no_second_heading(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setattr("clip_adapter.cli.result_table.ROWS_OF_WIDTHS", 2)
    monkeypatch.setattr("clip_adapter.cli.result_table.ROWS_AT_ONCE", 2)
    words = ["a", "b", "c", "longer", "d", "x" * 40, "e"]
    print_rows([pa.table({"word": words, "n": [*range(7)]})], plain_console())
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.split() for line in lines[2:6]] == [
        ["a", "0"],
        ["b", "1"],
        ["c", "2"],
        ["longer", "3"],
    ]
    assert sum("word" in line and "n" in line for line in lines) == 1
    # A word without room for it is whole in a block, and so is what follows.
    assert f"word  {'x' * 40}" in lines
    assert lines[-3:] == ["word  e", "n     6", "7 rows"]


def on_a_terminal(root: Path, *arguments: str) -> str:
    """What `clip-adapter sql` prints on a terminal."""
    command = [str(Path(sys.executable).parent / "clip-adapter"), "sql", "--root", str(root)]
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"}
    subprocess.run(
        [*command, *arguments],
        stdin=follower,
        stdout=follower,
        env=environment,
        check=True,
        timeout=60,
    )
    os.close(follower)
    shown = b""
    try:
        while part := os.read(leader, 65_536):
            shown += part
    except OSError:  # the end of what was written
        pass
    os.close(leader)
    return shown.decode()
