"""Tables brought to the columns they must have, or refused."""

from typing import Any

import pyarrow as pa

from feature_cache.errors import WrongSchemaError

_ALIKE = ("", "", "")


def conform(table: pa.Table, schema: pa.Schema, *, source: str, versions: str = "") -> pa.Table:
    """`table` with exactly the columns of `schema`: absent nullable ones null, unknown ones gone.

    Fields of a struct are treated as columns are, also of structs inside lists and maps, so that
    programs of two versions share a store.

    Args:
        table: Any table.
        schema: What it must look like afterwards.
        source: Names the table in the message, e.g. its path.
        versions: Which versions wrote and read it; empty for a table that is no stored file.

    Raises:
        WrongSchemaError: A column has another type, or nulls (or is absent) where none may be.
    """
    advice = (
        f"; it is {versions}: upgrade clip-adapter on this machine, or, where it is the newer of "
        "the two, move the file away, whose rows then count as missing"
    )
    try:
        arrays = [_conform_column(table, field, source) for field in schema]
    except WrongSchemaError as error:
        raise WrongSchemaError(f"{error}{advice if versions else ''}") from None
    return pa.Table.from_arrays(arrays, schema=schema)


def pick(schema: pa.Schema, *names: str) -> pa.Schema:
    """Only these columns of a schema, in this order."""
    return pa.schema([schema.field(name) for name in names])


def _conform_column(table: pa.Table, field: pa.Field, source: str) -> Any:
    if field.name in table.schema.names:
        column = table.column(field.name)
    else:
        column = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    if column.type != field.type:
        name, found, expected = _difference(column.type, field.type, field.name)
        if name:
            raise WrongSchemaError(f"column {name} of {source} is {found}, expected {expected}")
        # Only which fields there are differs, and that is what a cast of structs brings in order.
        column = column.cast(field.type)
    if column.null_count and not field.nullable:
        raise WrongSchemaError(
            f"column {field.name} of {source} lacks {column.null_count} of "
            f"{table.num_rows} values, expected all of them"
        )
    return column


def _difference(found: pa.DataType, expected: pa.DataType, name: str) -> tuple[str, str, str]:
    """The first part of a column that cannot be read: its name, found, expected; else empty."""
    kinds = (found, expected)
    if all(map(pa.types.is_struct, kinds)):
        parts = [_field_difference(found, field, f"{name}.{field.name}") for field in expected]
        return next(filter(any, parts), _ALIKE)
    if all(map(pa.types.is_map, kinds)) and found.key_type == expected.key_type:
        return _difference(found.item_type, expected.item_type, name)
    if all(map(pa.types.is_list, kinds)):
        return _difference(found.value_type, expected.value_type, name)
    return _ALIKE if found == expected else (name, _in_short(found), _in_short(expected))


def _field_difference(found: pa.StructType, field: pa.Field, name: str) -> tuple[str, str, str]:
    place = found.get_field_index(field.name)
    if place < 0:
        return _ALIKE if field.nullable else (name, "absent", _in_short(field.type))
    if found.field(place).nullable and not field.nullable:
        return name, "nullable", "never null"
    return _difference(found.field(place).type, field.type, name)


def _in_short(kind: pa.DataType) -> str:
    return str(kind).partition("<")[0] if pa.types.is_struct(kind) else f"{kind!s:.60}"
