"""Stored tables: names, declarations, and that no damage is read silently."""

import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_cache import (
    CorruptFileError,
    InvalidInputError,
    MisplacedFileError,
    NewerFormatError,
    WrongSchemaError,
    list_files,
    read_table,
    read_tables,
    verify_file,
    write_table,
)
from feature_cache.parquet_file import read_footer
from feature_cache.schemas import pick

ROWS = pa.table({"name": ["a", "b", "c"], "value": [1.0, 2.0, 3.0]})
SCHEMA = pa.schema([pa.field("name", pa.string()), pa.field("value", pa.float64())])


def place_under_its_digest(folder: Path, content: bytes) -> Path:
    path = folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
    path.write_bytes(content)
    return path


def parquet(table: pa.Table, metadata: dict[str, str]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return bytes(sink.getvalue())


def test_a_written_table_reads_back_the_same(tmp_path: Path) -> None:
    assert read_table(write_table(tmp_path, ROWS, kind="k"), kind="k").equals(ROWS)


def test_a_file_is_named_by_the_digest_of_its_content(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.parquet"


def test_the_same_rows_are_the_same_file_however_they_came_together(tmp_path: Path) -> None:
    in_pieces = pa.concat_tables([ROWS.slice(0, 1), ROWS.slice(1)])
    annotated = ROWS.replace_schema_metadata({"pandas": "was here"})
    paths = {write_table(tmp_path, table, kind="k") for table in (ROWS, in_pieces, annotated)}
    assert list_files(tmp_path) == sorted(paths)
    assert len(paths) == 1


def test_writing_the_same_rows_again_does_not_touch_the_file(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    before = path.stat()
    write_table(tmp_path, ROWS, kind="k")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_writing_the_same_rows_again_heals_a_damaged_file(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    path.write_bytes(path.read_bytes()[:100])
    assert write_table(tmp_path, ROWS, kind="k") == path
    verify_file(path)


def test_two_kinds_of_the_same_rows_are_two_files(tmp_path: Path) -> None:
    assert write_table(tmp_path, ROWS, kind="k") != write_table(tmp_path, ROWS, kind="other")


def test_many_writers_of_the_same_rows_leave_one_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write_table, tmp_path / "new", ROWS, kind="k") for _ in range(32)]
        paths = {writer.result() for writer in writers}
    assert list((tmp_path / "new").iterdir()) == list(paths)


def test_a_table_without_rows_is_refused_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no rows of kind 'k'"):
        write_table(tmp_path / "new", ROWS.slice(0, 0), kind="k")
    assert not (tmp_path / "new").exists()


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert list_files(tmp_path / "missing") == []


@pytest.mark.parametrize(
    "name",
    [
        f".{'0' * 64}.1f2e.tmp",
        f"{'0' * 64}.parquet.tmp",
        f"{'0' * 63}.parquet",
        f"{'A' * 64}.parquet",
        f"{'0' * 64}.parquet\n",
        "notes.txt",
    ],
)
def test_only_final_names_are_listed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"half a fi")
    assert list_files(tmp_path) == []


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    content = path.read_bytes()
    for position in range(0, len(content), 3):  # every third byte, for speed
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match=path.name):
            read_table(path, kind="k")


def test_a_truncated_file_is_noticed_at_every_length(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    content = path.read_bytes()
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptFileError, match="Delete the file"):
            read_tables(tmp_path, kind="k", schema=SCHEMA)


def test_pages_carry_checksums_for_readers_that_skip_the_digest(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k", compression="none")
    content = bytearray(path.read_bytes())
    # Of the values, only 2.0 is in the page alone: 1.0 and 3.0 are also in the statistics.
    content[content.index(struct.pack("<d", 2.0))] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_a_file_under_its_digest_that_is_not_parquet_is_damaged(tmp_path: Path) -> None:
    path = place_under_its_digest(tmp_path, b"not parquet at all")
    verify_file(path)
    with pytest.raises(CorruptFileError, match=path.name):
        read_table(path, kind="k")


def test_a_newer_format_asks_for_an_upgrade(tmp_path: Path) -> None:
    declared = {"clip-adapter.format": "2", "clip-adapter.kind": "k"}
    path = place_under_its_digest(tmp_path, parquet(ROWS, declared))
    with pytest.raises(NewerFormatError, match=r"format 2.*up to format 1: upgrade"):
        read_table(path, kind="k")


@pytest.mark.parametrize("version", ["", "one", "-1", "1.5"])
def test_a_version_that_is_no_number_is_damage(tmp_path: Path, version: str) -> None:
    declared = {"clip-adapter.format": version, "clip-adapter.kind": "k"}
    path = place_under_its_digest(tmp_path, parquet(ROWS, declared))
    with pytest.raises(CorruptFileError, match="format version"):
        read_table(path, kind="k")


def test_another_kind_of_rows_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="metrics")
    with pytest.raises(MisplacedFileError, match="'metrics' rows where 'runs' rows were expected"):
        read_table(path, kind="runs")


def test_a_parquet_file_of_a_stranger_is_refused(tmp_path: Path) -> None:
    path = place_under_its_digest(tmp_path, parquet(ROWS, {}))
    with pytest.raises(MisplacedFileError, match="no declared kind"):
        read_table(path, kind="k")


def test_columns_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    assert read_table(path, kind="k", columns=["value", "name"]).column_names == ["value", "name"]


def test_a_column_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = write_table(tmp_path, ROWS, kind="k")
    with pytest.raises(WrongSchemaError, match="no column colour: it has name, value"):
        read_table(path, kind="k", columns=["name", "colour"])


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / f"{'0' * 64}.parquet", kind="k")


def test_the_schema_is_read_without_the_metadata_of_the_format(tmp_path: Path) -> None:
    assert read_footer(write_table(tmp_path, ROWS, kind="k"), kind="k").equals(SCHEMA)
    assert read_footer(list_files(tmp_path)[0], kind="k").metadata is None


def test_no_files_read_as_an_empty_table_of_the_schema(tmp_path: Path) -> None:
    table = read_tables(tmp_path / "missing", kind="k", schema=pick(SCHEMA, "value"))
    assert table.num_rows == 0
    assert table.schema.equals(pa.schema([SCHEMA.field("value")]))


def test_the_state_of_a_folder_is_the_union_of_its_files(tmp_path: Path) -> None:
    for start in range(3):
        write_table(tmp_path, ROWS.slice(start, 1), kind="k")
    table = read_tables(tmp_path, kind="k", schema=SCHEMA)
    assert sorted(table.column("name").to_pylist()) == ["a", "b", "c"]


def test_a_column_that_an_older_file_lacks_is_null(tmp_path: Path) -> None:
    write_table(tmp_path, ROWS.select(["name"]), kind="k")
    table = read_tables(tmp_path, kind="k", schema=SCHEMA)
    assert table.column("value").to_pylist() == [None, None, None]


def test_a_file_with_none_of_the_wanted_columns_still_counts_its_rows(tmp_path: Path) -> None:
    write_table(tmp_path, ROWS.select(["name"]), kind="k")
    table = read_tables(tmp_path, kind="k", schema=pick(SCHEMA, "value"))
    assert table.column("value").to_pylist() == [None, None, None]


def test_a_column_of_a_newer_writer_is_left_out(tmp_path: Path) -> None:
    write_table(tmp_path, ROWS.append_column("extra", ROWS["value"]), kind="k")
    assert read_tables(tmp_path, kind="k", schema=SCHEMA).equals(ROWS)


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    path = write_table(tmp_path, pa.table({"name": ["a"], "value": ["1"]}), kind="k")
    with pytest.raises(WrongSchemaError, match=f"value of .*{path.name} is string, expected"):
        read_tables(tmp_path, kind="k", schema=SCHEMA)


def test_a_required_column_that_a_file_lacks_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, ROWS.select(["name"]), kind="k")
    strict = pa.schema([pa.field("value", pa.float64(), nullable=False)])
    with pytest.raises(WrongSchemaError, match="lacks 3 of 3 values"):
        read_tables(tmp_path, kind="k", schema=strict)
