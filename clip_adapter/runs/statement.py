"""Which SQL statements ask a question and change nothing."""

import re

import duckdb

from clip_adapter.runs.errors import QueryError

__all__ = ["check_question", "plain_message"]

_COMMENTS = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_COMMENTS}explain\b{_COMMENTS}(?:analyze\b|\((?:analyze|format)\b[^()]*\))?",
    re.IGNORECASE | re.DOTALL,
)
_WHAT_IS_ACCEPTED = (
    "expected one SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement"
)


def check_question(sql: str) -> None:
    """Refuse everything but a single statement that reads.

    This is for a clear answer, not for safety: a parser's word for a statement promises little
    (DuckDB 2.0 calls `WITH x AS (COPY ...)` a SELECT). What keeps files safe is that the lens gives
    its connection no access to any.

    Raises:
        QueryError: No statement, several, one that writes or sets, or SQL that does not parse.
    """
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(plain_message(error)) from None
    if len(statements) != 1:
        raise QueryError(f"found {len(statements)} statements: {_WHAT_IS_ACCEPTED}")
    if not _reads(statements[0]):
        found = statements[0].type.name.replace("_", " ")
        raise QueryError(f"found a statement of type {found}: {_WHAT_IS_ACCEPTED}")


def plain_message(error: duckdb.Error) -> str:
    """DuckDB's message on one line, without the excerpt of the statement that follows it."""
    return " ".join(str(error).partition("\n\nLINE ")[0].split())


def _reads(statement: duckdb.Statement) -> bool:
    if statement.type == duckdb.StatementType.EXPLAIN:
        return _explains_a_question(statement.query)
    if statement.type == duckdb.StatementType.MULTI:
        return _can_stand_in_from(statement.query)
    return bool(statement.type == duckdb.StatementType.SELECT)


def _explains_a_question(sql: str) -> bool:
    # EXPLAIN ANALYZE executes what it explains, COPY included.
    explain = _EXPLAIN.match(sql)
    return explain is not None and _is_question(sql[explain.end() :])


def _can_stand_in_from(sql: str) -> bool:
    # PIVOT is several statements to DuckDB, and so is COPY of a PIVOT; only the first is a table.
    try:
        return len(duckdb.extract_statements(f"FROM (\n{sql.rstrip().rstrip(';')}\n)")) == 1
    except duckdb.Error:
        return False


def _is_question(sql: str) -> bool:
    try:
        check_question(sql)
    except QueryError:
        return False
    return True
