import pyarrow as pa
import pytest

from feature_cache import WrongSchemaError
from feature_cache.schemas import conform

KNOWN = pa.struct([("ratio", pa.float64()), ("epochs", pa.int32())])


def _table(kind: pa.StructType, rows: list[dict[str, object] | None]) -> pa.Table:
    return pa.table({"settings": pa.array(rows, kind)})


def _conformed(table: pa.Table) -> list[object]:
    return conform(table, pa.schema([("settings", KNOWN)]), source="a file").to_pylist()


def test_columns_and_struct_fields_of_a_later_version_are_ignored() -> None:
    later = pa.struct([("epochs", pa.int32()), ("tau", pa.string()), ("ratio", pa.float64())])
    table = _table(later, [{"epochs": 3, "tau": "x", "ratio": 0.2}, None])
    table = table.append_column("protocol", pa.array(["all-classes", None]))
    expected = [{"settings": {"ratio": 0.2, "epochs": 3}}, {"settings": None}]
    assert _conformed(table) == expected
    assert _conformed(table.slice(1)) == expected[1:]


def test_struct_fields_that_an_earlier_version_lacked_are_null() -> None:
    table = _table(pa.struct([("ratio", pa.float64())]), [{"ratio": 0.2}])
    assert _conformed(table) == [{"settings": {"ratio": 0.2, "epochs": None}}]


def test_a_struct_field_of_another_type_is_refused() -> None:
    table = _table(pa.struct([("ratio", pa.string())]), [{"ratio": "0.2"}])
    with pytest.raises(WrongSchemaError, match="settings"):
        _conformed(table)


def test_a_struct_without_a_field_that_may_not_be_null_is_refused() -> None:
    strict = pa.struct([pa.field("ratio", pa.float64(), nullable=False)])
    table = _table(pa.struct([("epochs", pa.int32())]), [{"epochs": 3}])
    with pytest.raises(WrongSchemaError, match="settings"):
        conform(table, pa.schema([("settings", strict)]), source="a file")
