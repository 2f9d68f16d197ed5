"""The names, comments and document of the SQL views, and how others read a store."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clip_adapter.runs import RunDatabase, connect, statements_of, view_names
from clip_adapter.runs.definitions import definitions
from clip_adapter.runs.sql_reference import update
from feature_cache import FeatureStore

CHECKOUT = Path(__file__).parents[3]
DOCUMENT = CHECKOUT / "docs" / "sql.md"
STORE = CHECKOUT / "tests/golden/store-2"
OTHER_PYTHON = "DUCKDB_PYTHON"
"""Names the Python of an environment with another DuckDB, to read a store with it as well."""


@pytest.fixture(name="database")
def _database(tmp_path: Path) -> Iterator[RunDatabase]:
    with connect(tmp_path) as database:
        yield database


def test_the_document_is_what_views_and_questions_say() -> None:
    text = DOCUMENT.read_text()
    assert update(text) == text, "run `make docs`"


def test_every_view_has_a_comment(database: RunDatabase) -> None:
    sql = (
        "SELECT view_name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"
    )
    found = {row["view_name"]: row["comment"] for row in database.query(sql).to_pylist()}
    assert sorted(found) == list(view_names())
    assert [name for name, comment in found.items() if not (comment or "").endswith(".")] == []


def test_every_macro_has_a_comment(database: RunDatabase) -> None:
    sql = "SELECT function_name AS name, comment FROM duckdb_functions() WHERE schema_name = 'main'"
    comments = {row["name"]: row["comment"] for row in database.query(sql).to_pylist()}
    macros = [
        each.name for each in definitions().values() if each.is_macro and not each.is_internal
    ]
    assert sorted(macros) == ["features", "similar_images"]
    assert all(comments[name] for name in macros)


def test_every_column_has_a_comment_and_every_comment_a_column(database: RunDatabase) -> None:
    sql = """
        SELECT table_name AS view, column_name AS name, comment FROM duckdb_columns()
        WHERE schema_name = 'main' AND NOT internal
    """
    columns = database.query(sql).to_pylist()
    assert [row for row in columns if not (row["comment"] or "").endswith(".")] == []
    assert {row["view"] for row in columns} == set(view_names())
    there = {(row["view"], row["name"]) for row in columns}
    text = files("clip_adapter.runs").joinpath("views", "columns.toml").read_text()
    texts = tomllib.loads(text)
    everywhere = texts.pop("every view")
    for macro in ("features", "similar_images"):  # which the document's test asks for
        texts.pop(macro)
    assert [
        (view, name) for view in texts for name in texts[view] if (view, name) not in there
    ] == []
    needed = {name for view, name in there if name not in texts.get(view, {})}
    assert set(everywhere) - needed == set()


def test_only_views_of_the_document_are_listed(database: RunDatabase) -> None:
    listed = [row["name"] for row in database.query("SHOW TABLES").to_pylist()]
    assert listed == list(view_names())
    internal = [each.name for each in definitions().values() if each.is_internal]
    assert internal
    document = DOCUMENT.read_text()
    assert [name for name in internal if f"### {name}\n" in document] == []
    assert "internal." not in document
    assert all(f"\n### {name}\n" in document for name in view_names())


def test_the_document_has_columns_and_defaults_of_table_macros() -> None:
    part = DOCUMENT.read_text().partition("\n## Table macros\n")[2]
    assert "### similar_images(digest, encoder, top := 20)\n" in part
    columns = re.findall(r"^\| `(\w+)` \| (\S+) \| \S.*\. \|$", part, re.MULTILINE)
    assert columns == [
        ("image_sha256", "VARCHAR"),
        ("cosine", "DOUBLE"),
        ("image_sha256", "VARCHAR"),
        ("feature", "FLOAT[d]"),
    ]


def test_a_description_shows_what_a_column_holds(database: RunDatabase) -> None:
    sql = "SELECT comment FROM duckdb_columns() WHERE table_name = 'paired' AND column_name = 'low'"
    (row,) = database.query(sql).to_pylist()
    assert row["comment"] == "Lower end of the 95 % interval of the difference."


def test_the_document_says_how_views_and_comments_are_listed(database: RunDatabase) -> None:
    introduction = DOCUMENT.read_text().partition("## Without this library")[0]
    (block,) = re.findall(r"```sql\n(.*?)```", introduction, re.DOTALL)
    columns, views = (database.query(sql) for sql in statements_of(block))
    assert set(columns["table_name"].to_pylist()) == set(view_names())
    assert sorted(views["view_name"].to_pylist()) == list(view_names())
    assert all([*columns["comment"].to_pylist(), *views["comment"].to_pylist()])


def lines_for(package: str) -> str:
    """The lines of the document that read a store with a package alone."""
    part = DOCUMENT.read_text().partition("## Without this library")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    return next(block for block in blocks if f"import {package}" in block)


def run_lines(package: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    pytest.importorskip(package)
    monkeypatch.chdir(store.parent)
    names: dict[str, Any] = {}
    exec(compile(lines_for(package), package, "exec"), names)  # noqa: S102  # our own document
    return names


@pytest.fixture(name="copy")
def _copy(tmp_path: Path) -> Path:
    """A store in which every file of runs is stored twice, with a study and another protocol beside them."""
    store = Path(shutil.copytree(STORE, tmp_path / "clip-adapter-store"))
    for path in list((store / "runs").rglob("*.parquet")):
        shutil.copy(path, path.with_name(f"{'0' * 64}.parquet"))
    add_run(store, "1" * 32, study="ratios")
    add_run(store, "2" * 32, protocol="base-to-new")
    return store


def add_run(store: Path, run_id: str, **changed: str) -> None:
    """Store a run again under another id, with other values in some columns, as a program without digests does."""
    (first,) = pq.read_table(store / "runs/runs").slice(0, 1).to_pylist()
    for table in ("runs", "metrics", "predictions"):
        folder = store / "runs" / table
        rows = pq.read_table(folder, filters=[("run_id", "=", first["run_id"])])
        columns = {"run_id": run_id} | (changed if table == "runs" else {})
        for name, value in columns.items():
            place = rows.schema.get_field_index(name)
            column = pa.repeat(pa.scalar(value, rows.schema.field(place).type), rows.num_rows)
            rows = rows.set_column(place, rows.schema.field(place), column)
        pq.write_table(rows, folder / f"{run_id * 2}.parquet")


def expected_of(store: Path) -> tuple[list[float], dict[str, float], int]:
    original = store.with_name("original")
    with connect(original) as database:
        metrics = "FROM metrics WHERE split = 'test' AND name = 'accuracy'"
        accuracy = sorted(database.query(metrics)["value"].to_pylist())
        sql = "SELECT run_id, avg(correct::INTEGER) AS mean FROM predictions GROUP BY run_id"
        correct = {row["run_id"]: row["mean"] for row in database.query(sql).to_pylist()}
        (encoder,) = [path.name for path in (store / "features").iterdir()]
        n_features = database.query(f"FROM features('{encoder}')").num_rows
    return accuracy, correct, n_features


@pytest.fixture(name="original", autouse=True)
def _original(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if "copy" in request.fixturenames:
        shutil.copytree(request.getfixturevalue("copy"), tmp_path / "original")
        for digit in "012":
            for path in list((tmp_path / "original" / "runs").rglob(f"{digit * 64}.parquet")):
                path.unlink()


def test_duckdb_reads_a_store(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_lines("duckdb", copy, monkeypatch)
    accuracy, correct, n_features = expected_of(copy)
    assert sorted(row[-1] for row in names["accuracy"]) == accuracy
    assert dict(names["correct"]) == pytest.approx(correct)
    assert len(names["vectors"]) == n_features
    assert accuracy
    assert n_features


def test_polars_reads_a_store(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_lines("polars", copy, monkeypatch)
    accuracy, correct, n_features = expected_of(copy)
    assert sorted(names["accuracy"]["value"].to_list()) == accuracy
    assert names["vectors"].height == n_features
    assert names["predictions"].select("run_id").unique().collect().height == len(correct)


def test_pandas_reads_a_store(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run_lines("pandas", copy, monkeypatch)
    accuracy, correct, n_features = expected_of(copy)
    assert sorted(names["accuracy"]["value"]) == accuracy
    assert len(names["vectors"]) == n_features
    assert set(names["predictions"]["run_id"]) == set(correct)


def test_half_floats_are_numbers_in_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "clip-adapter-store"
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float16)
    digests = [bytes([number] * 32) for number in range(3)]
    FeatureStore(store, "ab" * 32).append_images(digests, features)
    assert names_features(store) == features.tolist()
    import duckdb  # noqa: PLC0415  # as others use it

    monkeypatch.chdir(tmp_path)
    query = lines_for("duckdb").partition('features = f"')[2].partition('"\n')[0]
    rows = duckdb.sql(query.replace("{store}", store.name)).fetchall()
    assert [row[2] for row in sorted(rows)] == features.tolist()


def names_features(store: Path) -> list[list[float]]:
    with connect(store) as database:
        rows = database.query(f"FROM features('{'ab' * 32}')").to_pylist()
        (kind,) = database.query(
            f"SELECT DISTINCT typeof(feature) AS kind FROM features('{'ab' * 32}')"
        )["kind"].to_pylist()
    assert kind == "FLOAT[4]"
    return [row["feature"] for row in rows]


@pytest.mark.skipif(OTHER_PYTHON not in os.environ, reason=f"{OTHER_PYTHON} names no Python")
def test_another_duckdb_reads_a_store(copy: Path) -> None:
    program = f"{lines_for('duckdb')}\nprint(len(accuracy), len(correct), len(vectors))"
    asked = [os.environ[OTHER_PYTHON], "-c", program]
    done = subprocess.run(asked, cwd=copy.parent, capture_output=True, text=True, check=True)
    assert tuple(map(int, done.stdout.split())) == tuple(
        len(each) if not isinstance(each, int) else each for each in expected_of(copy)
    )
