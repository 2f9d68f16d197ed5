"""The SQL views and macros of a store: the statements of the files `views/*.sql` in this folder.

A statement ends with `;` at the end of a line. A view is a `CREATE VIEW` statement, and a `COMMENT ON`
statement that follows describes it; its columns are described in `views/columns.toml`. The views of the
schema `internal` are for the others, and are not listed. Those of the schema `stored` are the rows of
all files; `clip_adapter.runs.database` makes them.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import takewhile

_FILES = (
    *("stored", "current", "leaderboard", "protocols", "classes", "champions", "features"),
    *("store", "changes", "paired"),
)
_CREATE = re.compile(r"CREATE (?P<what>VIEW|MACRO) (?:internal\.)?(?P<name>\w+)")
_COMMENT = re.compile(r"COMMENT ON (?:VIEW|MACRO TABLE) (?:internal\.)?(?P<name>\w+)")
_NAME = re.compile(r"(?<!stored\.)\b\w+")
_FOLDER = files("clip_adapter.runs") / "views"
INTERNAL = "internal"


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A view or macro.

    Attributes:
        name: name without its schema.
        sql: the statement that creates it.
        comments: the statements that comment on it and on its columns.
        is_macro: whether it is a macro.
        is_internal: whether it belongs to the schema `internal`.
    """

    name: str
    sql: str
    comments: tuple[str, ...]
    is_macro: bool
    is_internal: bool


@cache
def definitions() -> dict[str, Definition]:
    """Every view and macro by its name, in an order in which they can be made."""
    created: dict[str, tuple[str, list[str]]] = {}
    for name in _FILES:
        text = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
        for sql in text.split(";\n"):
            if found := _CREATE.search(sql):
                created[found["name"]] = (sql[found.start() :], [])
            elif found := _COMMENT.search(sql):
                created[found["name"]][1].append(sql[found.start() :])
    return {
        name: Definition(
            name=name,
            sql=sql,
            comments=tuple(comments),
            is_macro=sql.startswith("CREATE MACRO"),
            is_internal=sql.split()[2].startswith(f"{INTERNAL}."),
        )
        for name, (sql, comments) in created.items()
    }


@cache
def view_names() -> tuple[str, ...]:
    """The names of the views that are listed, sorted."""
    return tuple(
        sorted(
            each.name
            for each in definitions().values()
            if not each.is_macro and not each.is_internal
        )
    )


@cache
def dependencies(name: str) -> frozenset[str]:
    """The views and macros that a view or macro may read, all of them made before it."""
    earlier = set(takewhile(lambda each: each != name, definitions()))
    below = named_in(definitions()[name].sql) & earlier
    return frozenset(below.union(*map(dependencies, below)))


def column_comment(view: str, column: str) -> str:
    """What a column of a view holds; empty where `columns.toml` says nothing of it.

    A text for the view comes before the one for every view.
    """
    texts = _column_texts()
    return texts.get(view, {}).get(column) or texts["every view"].get(column, "")


@cache
def _column_texts() -> dict[str, dict[str, str]]:
    return tomllib.loads((_FOLDER / "columns.toml").read_text(encoding="utf-8"))


def named_in(sql: str) -> set[str]:
    """The views and macros whose names occur in a text."""
    return definitions().keys() & set(_NAME.findall(sql.casefold()))
