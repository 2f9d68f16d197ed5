"""Commands that ask without a server: sql, datasets."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]
PutPhotos = Callable[..., Path]


@pytest.fixture(name="sql")
def _sql(command: Command, root: Path) -> Command:
    root.mkdir()
    return partial(command, "sql", "--root", root)


def test_an_answer_is_a_table_by_default(sql: Command) -> None:
    outcome = sql("SELECT 0.25 AS accuracy_mean, '[red]' AS method")
    assert "accuracy_mean" in outcome.out
    assert "[red]" in outcome.out
    assert "1 row" in outcome.out


def test_a_table_of_hostile_names_cannot_steer_a_terminal(sql: Command) -> None:
    outcome = sql("SELECT chr(27) || '[2J' AS name, 1 AS \"\x1b[31m\"")
    assert "\x1b" not in outcome.out
    assert r"\x1b[2J" in outcome.out


def test_an_answer_can_be_csv(sql: Command) -> None:
    outcome = sql("SELECT 1 AS n, 'a,b' AS text", "--format", "csv")
    assert list(csv.DictReader(io.StringIO(outcome.out))) == [{"n": "1", "text": "a,b"}]


def test_an_answer_can_be_json(sql: Command) -> None:
    outcome = sql("SELECT 1 AS n, DATE '2026-11-23' AS day, NULL AS nothing", "--format", "json")
    assert json.loads(outcome.out) == [{"n": 1, "day": "2026-11-23", "nothing": None}]


@pytest.mark.parametrize("view", ["runs", "metrics", "predictions", "leaderboard", "quarantine"])
def test_an_empty_store_has_every_view_and_no_rows(sql: Command, view: str) -> None:
    assert json.loads(sql(f"SELECT * FROM {view}", "--format", "json").out) == []


def test_an_answer_without_rows_still_names_its_columns(sql: Command) -> None:
    columns = sql("SELECT dataset, method FROM leaderboard", "--format", "csv").out
    assert columns.split() == ["dataset,method"]


def test_asking_writes_nothing(sql: Command, root: Path) -> None:
    sql("SELECT * FROM leaderboard")
    assert list(root.iterdir()) == []


def test_two_columns_of_one_name_keep_their_values(command: Command, root: Path) -> None:
    root.mkdir()
    asked = ("sql", "SELECT 1 AS a, 2 AS a", "--root", root, "--format")
    assert command(*asked, "csv").out.split() == ["a,a", "1,2"]
    assert "rename one with AS" in command(*asked, "json").err


def test_the_datasets_are_listed_before_anything_is_stored(command: Command, root: Path) -> None:
    known = json.loads(command("datasets", "--root", root, "--json").out)
    assert {"digits", "eurosat"} <= set(known["known"])
    assert known["indexed"] == []
    assert "eurosat" in command("datasets", "--root", root).out


def test_a_dataset_is_listed_as_it_was_indexed_last(
    extract: Command, command: Command, photos: Path, root: Path, put_photos: PutPhotos
) -> None:
    assert extract().code == 0
    put_photos(photos, "red", range(100, 105))
    assert extract().code == 0
    listed = json.loads(command("datasets", "--root", root, "--json").out)["indexed"]
    assert [row["images"] for row in listed] == [95]


def test_a_folder_that_was_indexed_is_listed_as_ones_own(
    extract: Command, command: Command, root: Path
) -> None:
    assert extract().code == 0
    lines = command("datasets", "--root", root).out.splitlines()
    (line,) = [line for line in lines if "a folder of your own" in line]
    assert line.split()[1] == "photos"


def test_more_columns_than_there_is_room_for_are_shown_one_a_line(
    command: Command, root: Path
) -> None:
    root.mkdir()
    columns = ", ".join(f"{number} AS column_number_{number}" for number in range(20))
    outcome = command("sql", f"SELECT {columns} FROM range(2)", "--root", root)
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines.count(["column_number_7", "7"]) == 2
    assert [line[:2] for line in lines if line[0] == "row"] == [["row", "1"], ["row", "2"]]
    assert lines[-1] == ["2", "rows"]
    nothing = command("sql", f"SELECT {columns} FROM range(0)", "--root", root)
    assert "column_number_7," in nothing.out
