"""Tables brought to the columns they must have, or refused."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from feature_cache.errors import WrongSchemaError

__all__ = ["conform", "pick"]


def conform(table: pa.Table, schema: pa.Schema, *, source: str) -> pa.Table:
    """`table` with exactly the columns of `schema`: absent nullable ones null, unknown ones gone.

    Fields of a struct are treated as columns are, so that programs of two versions share a store.

    Args:
        table: Any table.
        schema: What it must look like afterwards.
        source: Names the table in the message, e.g. its path.

    Raises:
        WrongSchemaError: A column has another type, or nulls (or is absent) where none may be.
    """
    arrays = [_conform_column(table, field, source) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def pick(schema: pa.Schema, *names: str) -> pa.Schema:
    """Only these columns of a schema, in this order."""
    return pa.schema([schema.field(name) for name in names])


def _conform_column(table: pa.Table, field: pa.Field, source: str) -> Any:
    if field.name not in table.schema.names:
        column = pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    else:
        column = table.column(field.name)
    if column.type != field.type and _fits(column.type, field.type):
        chunks = [_struct(chunk, field.type) for chunk in column.chunks]
        column = pa.chunked_array(chunks, type=field.type)
    if column.type != field.type:
        raise WrongSchemaError(
            f"column {field.name} of {source} is {column.type}, expected {field.type}"
        )
    if column.null_count and not field.nullable:
        raise WrongSchemaError(
            f"column {field.name} of {source} lacks {column.null_count} of "
            f"{table.num_rows} values, expected all of them"
        )
    return column


def _fits(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a struct has every field that is expected and may not be null, each of its type."""
    if not (pa.types.is_struct(found) and pa.types.is_struct(expected)):
        return False
    kinds = {field.name: field.type for field in found}
    return all(
        kinds[field.name] == field.type if field.name in kinds else field.nullable
        for field in expected
    )


def _struct(found: pa.StructArray, kind: pa.StructType) -> pa.StructArray:
    names = [field.name for field in found.type]
    arrays = [
        pc.struct_field(found, [field.name])
        if field.name in names
        else pa.nulls(len(found), field.type)
        for field in kind
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=found.is_null())
