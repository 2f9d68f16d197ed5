"""Rows on terminals, in pipes and in files."""

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from clip_adapter.cli.table_files import Format, chosen_format, write_rows
from clip_adapter.errors import ParameterError

NAME = "a\x1b[2J\x9b\u202eü.jpg"
TABLES = [pa.table({"path": [NAME], "error": [None]}), pa.table({"path": ["b"], "error": ["e"]})]
TABLES = [table.cast(pa.schema({"path": pa.string(), "error": pa.string()})) for table in TABLES]


class Stream(io.TextIOWrapper):
    """Standard output that is a terminal or not."""

    is_terminal = False

    def isatty(self) -> bool:
        return self.is_terminal


def written(monkeypatch: pytest.MonkeyPatch, form: Format, *, is_terminal: bool) -> str:
    buffer = io.BytesIO()
    stream = Stream(buffer, encoding="utf-8")
    stream.is_terminal = is_terminal
    monkeypatch.setattr(sys, "stdout", stream)
    write_rows(TABLES, form, None, overwrite=False)
    return buffer.getvalue().decode()


@pytest.mark.parametrize("form", [Format.CSV, Format.JSON, Format.JSONL])
def test_control_characters_are_escaped_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    shown = written(monkeypatch, form, is_terminal=True)
    assert all(line.isprintable() for line in shown.splitlines())
    assert "ü" in shown
    piped = written(monkeypatch, form, is_terminal=False)
    if form is Format.CSV:
        assert list(csv.reader(io.StringIO(piped)))[1] == [NAME, ""]
        assert r"a\x1b[2J\x9b\u202eü.jpg" in shown
    elif form is Format.JSONL:
        assert [json.loads(line)["path"] for line in piped.split("\n")[:-1]] == [NAME, "b"]
        assert json.loads(shown.splitlines()[0]) == json.loads(piped.split("\n")[0])
    else:
        assert json.loads(shown) == json.loads(piped)
        assert [row["path"] for row in json.loads(piped)] == [NAME, "b"]


def test_a_format_is_given_or_that_of_the_name() -> None:
    assert chosen_format(None, None) is Format.TABLE
    assert chosen_format(None, Path("a.JSONL")) is Format.JSONL
    assert chosen_format(Format.CSV, Path("a.txt")) is Format.CSV
    for form, output in [(None, Path("a.txt")), (Format.TABLE, Path("a.csv"))]:
        with pytest.raises(ParameterError, match="names no format"):
            chosen_format(form, output)
    with pytest.raises(ParameterError, match="Parquet is written to a file"):
        chosen_format(Format.PARQUET, None)
