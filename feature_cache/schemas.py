"""Bring tables to the columns of a schema, so that files of several versions can be read."""

from typing import Any

import pyarrow as pa

from feature_cache.errors import WrongSchemaError

_COMPATIBLE = ("", "", "")


def conform(table: pa.Table, schema: pa.Schema, *, source: str, versions: str = "") -> pa.Table:
    """Bring a table to exactly the columns of a schema, in its order.

    Missing nullable columns become null, and columns that the schema lacks are dropped. The same
    holds for the fields of structs, including structs inside lists and maps.

    Args:
        table: table to convert.
        schema: columns of the result.
        source: name of the table in error messages, for example its path.
        versions: versions of the programs that wrote and read a stored file, for error messages.

    Raises:
        WrongSchemaError: a column has another type, or is missing or null and not nullable.
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
    """Return the schema of these columns, in this order."""
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
        # The structs differ in which fields they have, which a cast adds or drops.
        column = column.cast(field.type)
    if column.null_count and not field.nullable:
        raise WrongSchemaError(
            f"column {field.name} of {source} lacks {column.null_count} of "
            f"{table.num_rows} values, expected all of them"
        )
    return column


def _difference(found: pa.DataType, expected: pa.DataType, name: str) -> tuple[str, str, str]:
    """Find the first part of a column that cannot be cast: name, found, expected; else empty."""
    kinds = (found, expected)
    if all(map(pa.types.is_struct, kinds)):
        parts = [_field_difference(found, field, f"{name}.{field.name}") for field in expected]
        return next(filter(any, parts), _COMPATIBLE)
    if all(map(pa.types.is_map, kinds)) and found.key_type == expected.key_type:
        return _difference(found.item_type, expected.item_type, name)
    if all(map(pa.types.is_list, kinds)):
        return _difference(found.value_type, expected.value_type, name)
    return _COMPATIBLE if found == expected else (name, _short_name(found), _short_name(expected))


def _field_difference(found: pa.StructType, field: pa.Field, name: str) -> tuple[str, str, str]:
    position = found.get_field_index(field.name)
    if position < 0:
        return _COMPATIBLE if field.nullable else (name, "absent", _short_name(field.type))
    if found.field(position).nullable and not field.nullable:
        return name, "nullable", "never null"
    return _difference(found.field(position).type, field.type, name)


def _short_name(kind: pa.DataType) -> str:
    return str(kind).partition("<")[0] if pa.types.is_struct(kind) else f"{kind!s:.60}"
