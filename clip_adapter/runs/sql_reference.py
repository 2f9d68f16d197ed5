"""The reference part of docs/sql.md, from the comments of the views and the saved questions.

`python -m clip_adapter.runs.sql_reference docs/sql.md` writes it anew; what stands above it in the file is kept.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip_adapter.runs.database import RunDatabase, connect
from clip_adapter.runs.definitions import column_comment, definitions, view_names
from clip_adapter.runs.saved_questions import SavedQuestion, saved_questions
from feature_cache import FeatureStore
from feature_cache.exchange.atomic_write import write_file

MARK = (
    "<!-- What follows is written by `python -m clip_adapter.runs.sql_reference docs/sql.md` -->\n"
)

_VIEWS = """
SELECT view_name AS name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal
"""
_COLUMNS = """
SELECT table_name AS view, column_name AS name, data_type AS type, comment FROM duckdb_columns()
WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index
"""
_MACROS = """
SELECT function_name AS name, comment FROM duckdb_functions()
WHERE schema_name = 'main' AND function_type = 'table_macro' AND NOT internal
"""
_SIGNATURE = re.compile(r"CREATE MACRO (\w+\((.*?)\)) AS TABLE", re.DOTALL)
_IMAGE, _ENCODER = bytes(32), "0" * 64
"""A stored image with a feature of one number, without which a table macro has no columns."""
_ARGUMENTS = {"digest": _IMAGE.hex(), "encoder": _ENCODER}


def update(text: str) -> str:
    """A document with its reference part written anew, or added at its end."""
    return text.partition(MARK)[0] + MARK + reference()


def reference() -> str:
    """The saved questions, views and macros as Markdown."""
    with tempfile.TemporaryDirectory() as folder:
        FeatureStore(Path(folder), _ENCODER).append_images([_IMAGE], np.ones((1, 1), np.float32))
        with connect(folder) as database:
            return "\n".join([*_questions(), *_views(database), *_macros(database)]) + "\n"


def _questions() -> Iterator[str]:
    yield from ["", "## Saved questions", ""]
    yield "`clip-adapter sql --question NAME --parameter top=50` asks one; its text can be copied and changed."
    for question in saved_questions().values():
        yield from ["", f"### {question.name}", "", question.description, ""]
        yield from _parameters(question)
        yield from ["```sql", _statement(question), "```"]


def _parameters(question: SavedQuestion) -> Iterator[str]:
    for name, parameter in question.parameters.items():
        default = "required" if parameter.is_required else f"default `{_json(parameter.default)}`"
        yield f"- `${name}`: {parameter.meaning} ({default})"
    if question.parameters:
        yield ""


def _statement(question: SavedQuestion) -> str:
    lines = question.statement.strip().splitlines()
    return "\n".join(line for line in lines if not line.startswith("-- "))


def _views(database: RunDatabase) -> Iterator[str]:
    yield from ["", "## Views"]
    comments = {row["name"]: row["comment"] for row in database.query(_VIEWS).to_pylist()}
    columns = database.query(_COLUMNS).to_pylist()
    for name in view_names():
        yield from ["", f"### {name}", "", comments[name], ""]
        yield from ["| column | type | what it holds |", "|---|---|---|"]
        for column in columns:
            if column["view"] == name:
                kind = _short(column["type"])
                yield f"| `{column['name']}` | {kind} | {column['comment']} |"


def _macros(database: RunDatabase) -> Iterator[str]:
    yield from ["", "## Table macros"]
    comments = {row["name"]: row["comment"] for row in database.query(_MACROS).to_pylist()}
    for name, definition in definitions().items():
        signature = _SIGNATURE.match(definition.sql)
        if signature is None or definition.is_internal:
            continue
        yield from ["", f"### {signature[1]}", "", comments[name], ""]
        yield from ["| column | type | what it holds |", "|---|---|---|"]
        required = [each for each in signature[2].split(", ") if ":=" not in each]
        call = ", ".join(f"'{_ARGUMENTS[each]}'" for each in required)
        for column in database.query(f"DESCRIBE FROM {name}({call})").to_pylist():
            comment = column_comment(name, column["column_name"])
            kind = column["column_type"].replace("[1]", "[d]")
            yield f"| `{column['column_name']}` | {kind} | {comment} |"


def _short(kind: str) -> str:
    """The name of a type, without the fields of a STRUCT."""
    suffix = "[]" if kind.endswith("[]") else ""
    return f"STRUCT{suffix}" if kind.startswith("STRUCT") else kind


def _json(value: Any) -> str:
    return "null" if value is None else str(value)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    written = update(path.read_text(encoding="utf-8") if path.exists() else "")
    write_file(path, written.encode(), overwrite=True)
