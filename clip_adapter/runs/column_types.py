"""Which DuckDB types leave as they are, and which as text, because a format has no such type."""

from enum import Enum
from typing import Any

_LOST_IN_ARROW = frozenset(
    {"bit", "uhugeint", "time with time zone", "bignum", "variant", "geometry"}
)
"""DuckDB writes these to Arrow as bytes of its own, or with another value."""
_LOST_IN_PARQUET = _LOST_IN_ARROW | {"interval", "union"}
_KEPT_IN_TEXT = frozenset(
    {
        *("boolean", "varchar", "blob", "decimal", "float", "double", "hugeint", "null"),
        *("tinyint", "smallint", "integer", "bigint"),
        *("utinyint", "usmallint", "uinteger", "ubigint"),
    }
)
"""Those that JSON has as well, and blobs. Python's dates end in 9999, DuckDB's do not."""


class Types(Enum):
    """Where the columns of a result go."""

    ARROW = "arrow"
    PARQUET = "parquet"
    TEXT = "text"

    def keeps(self, kind: str) -> bool:
        """Whether a type without children goes there unchanged, by its `id`."""
        if self is Types.TEXT:
            return kind in _KEPT_IN_TEXT
        return kind not in (_LOST_IN_ARROW if self is Types.ARROW else _LOST_IN_PARQUET)


def projection(types: list[Any], target: Types) -> str | None:
    """The SELECT list that casts the columns of a relation for a target; None if all are kept.

    Args:
        types: DuckDB's type of each column.
        target: where they go.
    """
    casts = [_cast(kind, target) for kind in types]
    # As the shortest decimal: 0.1 of 32 bits is 0.10000000149011612 in 64.
    exact = [
        "VARCHAR::DOUBLE" if target is Types.TEXT and each.id == "float" else None for each in types
    ]
    wanted = [cast or shortest for cast, shortest in zip(casts, exact, strict=True)]
    if not any(wanted):
        return None
    return ", ".join(
        f"#{place}::{cast}" if cast else f"#{place}" for place, cast in enumerate(wanted, start=1)
    )


def _cast(kind: Any, target: Types) -> str | None:
    """The type to cast to; None where it is kept."""
    if kind.id in {"list", "array"}:
        child = _cast(kind.children[0][1], target)
        return child and f"{child}[]"
    if kind.id == "struct":
        fields = {name: _cast(child, target) for name, child in kind.children}
        if not any(fields.values()):
            return None
        written = (f"{_quoted(name)} {fields[name] or child}" for name, child in kind.children)
        return f"STRUCT({', '.join(written)})"
    if kind.id == "map":
        return _cast_of_map(kind, target)
    return None if target.keeps(kind.id) else "VARCHAR"


def _cast_of_map(kind: Any, target: Types) -> str | None:
    (_, key), (_, value) = kind.children
    # A key of JSON is text.
    to_key = "VARCHAR" if target is Types.TEXT and str(key) != "VARCHAR" else _cast(key, target)
    to_value = _cast(value, target)
    return f"MAP({to_key or key}, {to_value or value})" if to_key or to_value else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
