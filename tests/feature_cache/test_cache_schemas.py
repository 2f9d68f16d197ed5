import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_cache import (
    NewerFormatError,
    WrongSchemaError,
    inspect_store,
    read_tables,
    write_table,
)
from feature_cache.parquet_file import program_version
from feature_cache.schemas import conform

KNOWN = pa.struct([("ratio", pa.float64()), ("epochs", pa.int32())])
LATER = pa.struct([("epochs", pa.int32()), ("tau", pa.string()), ("ratio", pa.float64())])
ROW = {"epochs": 3, "tau": "x", "ratio": 0.2}
EXPECTED = {"ratio": 0.2, "epochs": 3}


def _table(kind: pa.DataType, rows: list[Any]) -> pa.Table:
    return pa.table({"settings": pa.array(rows, kind)})


def _conformed(table: pa.Table, kind: pa.DataType = KNOWN) -> list[object]:
    schema = pa.schema([("settings", kind)])
    return [row["settings"] for row in conform(table, schema, source="a file").to_pylist()]


def test_columns_and_struct_fields_of_a_later_version_are_ignored() -> None:
    table = _table(LATER, [ROW, None])
    table = table.append_column("protocol", pa.array(["all-classes", None]))
    assert _conformed(table) == [EXPECTED, None]
    assert _conformed(table.slice(1)) == [None]


def test_so_are_those_of_structs_in_lists_in_structs_and_in_maps() -> None:
    table = _table(pa.list_(LATER), [[ROW], None, []])
    assert _conformed(table, pa.list_(KNOWN)) == [[EXPECTED], None, []]
    assert _conformed(table.slice(1), pa.list_(KNOWN)) == [None, []]
    table = _table(pa.struct([("tried", pa.list_(LATER)), ("new", pa.int8())]), [{"tried": [ROW]}])
    assert _conformed(table, pa.struct([("tried", pa.list_(KNOWN))])) == [{"tried": [EXPECTED]}]
    table = _table(pa.map_(pa.string(), LATER), [[("a", ROW)], None])
    assert _conformed(table, pa.map_(pa.string(), KNOWN)) == [[("a", EXPECTED)], None]


def test_struct_fields_that_an_earlier_version_lacked_are_null() -> None:
    table = _table(pa.struct([("ratio", pa.float64())]), [{"ratio": 0.2}])
    assert _conformed(table) == [{"ratio": 0.2, "epochs": None}]


@pytest.mark.parametrize("nest", [lambda kind: kind, pa.list_])
def test_a_struct_field_of_another_type_is_named_and_refused(nest: Any) -> None:
    expected = r"^column settings\.epochs of a file is absent, expected int32$"
    strict = pa.struct([pa.field("epochs", pa.int32(), nullable=False)])
    with pytest.raises(WrongSchemaError, match=expected):
        _conformed(_table(nest(pa.struct([("tau", pa.string())])), [None]), nest(strict))
    with pytest.raises(WrongSchemaError, match=r"^column settings\.epochs .* is nullable, exp"):
        _conformed(_table(nest(LATER), [None]), nest(strict))
    found = nest(pa.struct([("ratio", pa.string())]))
    with pytest.raises(WrongSchemaError, match=r"^column settings\.ratio .* is string, expected d"):
        _conformed(_table(found, [None]), nest(KNOWN))


def test_a_struct_where_none_was_expected_is_refused_in_few_words() -> None:
    message = "column settings of a file is struct, expected string"
    with pytest.raises(WrongSchemaError, match=f"^{message}$"):
        _conformed(_table(LATER, [ROW]), pa.string())


def _settings_as_text(root: Path) -> Path:
    written = write_table(root / "runs" / "runs", _table(pa.string(), ["x"]), kind="runs")
    assert isinstance(written, Path)
    return written


def test_of_a_stored_file_the_message_says_who_wrote_it_who_reads_it_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("feature_cache.parquet_file.program_version", lambda: "9.9")
        path = _settings_as_text(tmp_path)
    with pytest.raises(WrongSchemaError) as raised:
        read_tables(path.parent, kind="runs", schema=pa.schema([("settings", KNOWN)]))
    assert str(raised.value) == (
        f"column settings of {path} is string, expected struct; it is written in format 1 by "
        f"clip-adapter 9.9, this is clip-adapter {program_version()}, which reads up to format 1: "
        "upgrade clip-adapter on this machine, or, where it is the newer of the two, move the file "
        "away, whose rows then count as missing"
    )


@pytest.mark.parametrize("deep", [False, True])
def test_an_inspection_says_so_of_tables_whose_columns_it_is_told(
    tmp_path: Path, *, deep: bool
) -> None:
    _settings_as_text(tmp_path)
    schemas = {"runs": pa.schema([("settings", KNOWN)])}
    [finding] = inspect_store(tmp_path, deep=deep, schemas=schemas)
    assert "is string, expected struct; it is written in format 1" in str(finding.problem)
    assert [each.problem for each in inspect_store(tmp_path, deep=deep)] == [None]


def test_a_newer_format_names_both_formats_and_both_programs(tmp_path: Path) -> None:
    said = {"clip-adapter.format": "2", "clip-adapter.kind": "k", "clip-adapter.version": "9.9"}
    sink = pa.BufferOutputStream()
    pq.write_table(_table(pa.string(), ["x"]).replace_schema_metadata(said), sink)
    content = sink.getvalue().to_pybytes()
    path = tmp_path / f"{hashlib.sha256(content).hexdigest()}.parquet"
    path.write_bytes(content)
    with pytest.raises(NewerFormatError) as raised:
        read_tables(tmp_path, kind="k", schema=pa.schema([("settings", pa.string())]))
    assert str(raised.value) == (
        f"{path} is written in format 2 by clip-adapter 9.9, this is clip-adapter "
        f"{program_version()}, which reads up to format 1: upgrade clip-adapter to read it"
    )


def test_what_has_an_owner_does_not_say_which_version_wrote_it(tmp_path: Path) -> None:
    table = _table(pa.string(), ["x"])
    declared = [
        pq.read_schema(write_table(tmp_path, table, kind="k", owner=owner)).metadata
        for owner in ("", "pets")
    ]
    key = b"clip-adapter.version"
    assert [each.get(key) for each in declared] == [program_version().encode(), None]
