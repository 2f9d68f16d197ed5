"""Commands that look at a store without a server: sql, cache, datasets."""

import csv
import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_cache import FeatureStore

Command = Callable[..., Any]
ENCODER = "0123456789abcdef"


@pytest.fixture(name="sql")
def _sql(command: Command, root: Path) -> Command:
    root.mkdir()
    return partial(command, "sql", "--root", root)


@pytest.fixture(name="store")
def _store(root: Path) -> FeatureStore:
    store = FeatureStore(root, ENCODER)
    store.append_images([bytes(32), bytes(31) + b"1"], np.ones((2, 4), np.float32))
    store.append_prompts(["a photo of a cat."], np.ones((1, 4), np.float32))
    store.describe({"model": "tiny"})
    return store


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


@pytest.mark.usefixtures("store")
def test_the_cache_says_what_it_holds(command: Command, root: Path) -> None:
    (row,) = json.loads(command("cache", "stats", "--root", root, "--json").out)
    del row["bytes"]
    assert row == {
        "encoder": ENCODER,
        "model": "tiny",
        "images": 2,
        "prompts": 1,
        "width": 4,
        "files": 3,
    }
    assert "tiny" in command("cache", "stats", "--root", root).out


def test_an_empty_cache_says_so(command: Command, root: Path) -> None:
    root.mkdir()
    assert "no features" in command("cache", "stats", "--root", root).out


@pytest.mark.parametrize("question", ["stats", "verify"])
def test_a_cache_that_is_not_there_is_not_sound(
    command: Command, root: Path, question: str
) -> None:
    refused = command("cache", question, "--root", root)
    assert refused.code == 1
    assert "no store at" in refused.err


def test_two_columns_of_one_name_keep_their_values(command: Command, root: Path) -> None:
    root.mkdir()
    asked = ("sql", "SELECT 1 AS a, 2 AS a", "--root", root, "--format")
    assert command(*asked, "csv").out.split() == ["a,a", "1,2"]
    assert "rename one with AS" in command(*asked, "json").err


@pytest.mark.usefixtures("store")
def test_a_sound_store_is_verified(command: Command, root: Path) -> None:
    assert "3 files, all sound" in command("cache", "verify", "--root", root).out


def test_a_damaged_file_is_found_and_named(
    command: Command, root: Path, store: FeatureStore
) -> None:
    path = next((store.folder / "image").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    outcome = command("cache", "verify", "--root", root)
    assert outcome.code == 1
    assert path.name in outcome.err
    assert json.loads(command("cache", "verify", "--root", root, "--json").out)["files"] == 3


def test_the_datasets_are_listed_before_anything_is_stored(command: Command, root: Path) -> None:
    known = json.loads(command("datasets", "--root", root, "--json").out)
    assert {"digits", "eurosat"} <= set(known["known"])
    assert known["indexed"] == []
    assert "eurosat" in command("datasets", "--root", root).out
