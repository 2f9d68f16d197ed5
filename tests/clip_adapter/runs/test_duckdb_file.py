"""The views of a store as a DuckDB file: complete or absent, and readable by older versions."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from clip_adapter.runs import RunResult, RunStore, connect, export_views, view_names
from feature_cache.errors import CorruptFileError, InvalidInputError


@pytest.fixture(name="root")
def _root(tmp_path: Path, result_of: Callable[..., RunResult]) -> Path:
    RunStore(tmp_path / "store").record([result_of(number) for number in range(3)])
    return tmp_path / "store"


def test_a_file_holds_the_rows_of_every_view(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.duckdb"
    counted: dict[str, int] = {}
    with connect(root) as database:
        export_views(database, file, on_table=counted.__setitem__)
        expected = database.query("SELECT * FROM leaderboard")
    assert counted.keys() == set(view_names())
    assert counted["runs"] == 3
    with duckdb.connect(str(file), read_only=True) as connection:
        found = connection.sql("SELECT * FROM leaderboard").to_arrow_table()
        (tags,) = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE NOT internal"
        ).fetchall()
    assert found.to_pylist() == expected.to_pylist()
    assert "v1.0.0" in str(tags)


def test_an_export_that_fails_leaves_nothing_behind(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "results.duckdb"
    file.write_bytes(b"before")

    def fail(name: str, _rows: int) -> None:
        raise KeyboardInterrupt(name)

    with connect(root) as database:
        with pytest.raises(InvalidInputError, match="--overwrite"):
            export_views(database, file)
        with pytest.raises(KeyboardInterrupt):
            export_views(database, file, overwrite=True, on_table=fail)
    assert file.read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.duckdb", "store"]


def test_a_damaged_store_is_not_exported(root: Path, tmp_path: Path) -> None:
    damaged = next((root / "runs" / "metrics").glob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    with connect(root) as database, pytest.raises(CorruptFileError, match=damaged.name):
        export_views(database, tmp_path / "results.duckdb")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
