"""Statements of SQL: which of them read, and the parameters that they use."""

import re

import duckdb

from clip_adapter.runs.errors import RunStoreError

_COMMENTS = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)*"
_EXPLAIN = re.compile(
    rf"{_COMMENTS}explain\b{_COMMENTS}(?:analyze\b|\((?:analyze|format)\b[^()]*\))?",
    re.IGNORECASE | re.DOTALL,
)
WHAT_IS_ACCEPTED = (
    "expected one SELECT, WITH, FROM, VALUES, PIVOT, DESCRIBE, SHOW, SUMMARIZE or EXPLAIN statement"
)


def check_question(sql: str) -> None:
    """Raise unless the text is a single statement that only reads.

    The check gives a clear message; it does not keep files safe. DuckDB 2.0 parses
    `WITH x AS (COPY ...)` as a SELECT. Files are safe because the connection has no access to any.

    Raises:
        RunStoreError: there is no statement or more than one, it writes or sets something, or it
            does not parse.
    """
    statements = _parsed(sql)
    if len(statements) != 1:
        raise RunStoreError(f"found {len(statements)} statements: {WHAT_IS_ACCEPTED}")
    if not _reads(statements[0]):
        found = statements[0].type.name.replace("_", " ")
        raise RunStoreError(f"found a statement of type {found}: {WHAT_IS_ACCEPTED}")


def statements_of(text: str) -> list[str]:
    """The statements of a text of SQL, each with the comments before it.

    Raises:
        RunStoreError: the text does not parse, holds no statement, or one that writes or sets something.
    """
    found = [statement.query for statement in _parsed(text)]
    for statement in found or [text]:
        check_question(statement)
    return found


def parameters_of(statement: str) -> frozenset[str]:
    """The names of the parameters of a statement, without the $.

    Raises:
        RunStoreError: the text does not parse.
    """
    return frozenset(name for each in _parsed(statement) for name in each.named_parameters)


def _parsed(text: str) -> "list[duckdb.Statement]":
    try:
        return duckdb.extract_statements(text)
    except TypeError:  # a lone surrogate, of bytes that are no UTF-8
        raise RunStoreError("the SQL is no UTF-8 text") from None
    except duckdb.Error as error:
        raise RunStoreError(plain_message(error)) from None


def plain_message(error: Exception) -> str:
    """DuckDB's message on one line, without the excerpt of the statement that follows it.

    Of an exception in Python, whose traceback it has, the last line.
    """
    message = str(error).partition("\n\nLINE ")[0]
    if "Traceback (most recent call last)" in message:
        message = message.rstrip().rpartition("\n")[2].partition(": ")[2]
    return " ".join(message.split())


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
    except RunStoreError:
        return False
    return True
