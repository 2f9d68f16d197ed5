"""The rows that a statement returned: as Arrow, pandas, polars, Python values, or HTML."""

from html import escape
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from clip_adapter.errors import UnavailableError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs.column_types import Types, projection
from clip_adapter.runs.errors import RunStoreError

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

ROWS_SHOWN = 10
"""Rows of a table in a notebook; the rest is counted."""


class QueryResult:
    """The rows that a statement returned, held in memory.

    What takes Arrow takes it as well, through the Arrow PyCapsule interface: `pyarrow.table(result)`,
    `polars.DataFrame(result)`, `duckdb.sql("from result")`.

    >>> QueryResult(pa.table({"method": ["gda"], "accuracy": [0.5]})).fetchall()
    [('gda', 0.5)]

    Args:
        table: the rows.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> list[str]:
        """The names of the columns; two may be the same."""
        return list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __repr__(self) -> str:
        """The number of rows and the names of the columns."""
        return f"{type(self).__name__}({len(self)} rows of {', '.join(self.columns)})"

    def __str__(self) -> str:
        """The first rows as a table of text, and how many there are."""
        columns = [
            [escape_control_characters(name), *map(_cell, column.to_pylist())]
            for name, column in zip(self.columns, self._first_rows().columns, strict=True)
        ]
        widths = [max(map(len, texts)) for texts in columns]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
            for row in zip(*columns, strict=True)
        ]
        n_more = len(self) - ROWS_SHOWN
        count = f"{len(self):,} row{'s' if len(self) != 1 else ''}"
        return "\n".join(
            [*lines, f"{count}, {n_more:,} of them not shown" if n_more > 0 else count]
        )

    def to_arrow(self) -> pa.Table:
        """The rows as a table of Arrow."""
        return self._table

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a data frame of pandas.

        Raises:
            UnavailableError: pandas is not installed.
            RunStoreError: pandas has no type for a value, as for a date that is infinite.
        """
        _check_installed("pandas")
        try:
            return self._table.to_pandas()
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise _no_type("pandas", error) from None

    def to_polars(self) -> "pl.DataFrame":
        """The rows as a data frame of polars.

        Raises:
            UnavailableError: polars is not installed.
            RunStoreError: polars has no type for a column, or two columns have one name.
        """
        _check_installed("polars")
        import polars as pl  # noqa: PLC0415  # an extra

        try:
            found = pl.from_arrow(self._table)
        except (pa.ArrowException, ValueError, pl.exceptions.PolarsError) as error:
            raise _no_type("polars", error) from None
        return found if isinstance(found, pl.DataFrame) else found.to_frame()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows as tuples of Python values, converted as DuckDB does.

        Raises:
            RunStoreError: Python has no type for a value.
        """
        with duckdb.connect(":memory:") as connection:
            try:
                rows: list[tuple[Any, ...]] = connection.from_arrow(self._table).fetchall()
            except (duckdb.Error, ValueError, OverflowError) as error:
                raise _no_type("Python", error) from None
        return rows

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)

    def _repr_html_(self) -> str:
        """The first rows, for a notebook."""
        return html_table(self._first_rows(), n_rows=len(self))

    def _first_rows(self) -> pa.Table:
        """Rows of types that Python has, with the names of the columns."""
        first = self._table.slice(0, ROWS_SHOWN)
        with duckdb.connect(":memory:") as connection:
            relation = connection.from_arrow(first)
            columns = projection(relation.types, Types.TEXT)
            shown = (relation.project(columns) if columns else relation).to_arrow_table()
        return shown.rename_columns(self.columns)


def html_table(table: pa.Table, *, n_rows: int | None = None) -> str:
    """The first rows of a table as HTML, all text escaped.

    Args:
        table: columns of types that Python has.
        n_rows: number of rows there are; those of the table when None.
    """
    first = table.slice(0, ROWS_SHOWN)
    rows = zip(*(column.to_pylist() for column in first.columns), strict=True)
    head = "".join(f"<th>{html_text(name)}</th>" for name in table.column_names)
    body = "\n".join(
        f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>" for row in rows
    )
    n_more = (table.num_rows if n_rows is None else n_rows) - ROWS_SHOWN
    more = f"\n<p>and {n_more:,} more</p>" if n_more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>{more}"


def html_text(text: object) -> str:
    """Text that HTML shows literally, control characters escaped."""
    return escape(escape_control_characters(text))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else escape_control_characters(value)


def _check_installed(package: str) -> None:
    if find_spec(package) is None:
        raise UnavailableError(
            f"a data frame of {package} was asked for, and {package} is not installed: run "
            f"`pip install 'clip-adapter[{package}]'`, or use `to_arrow`"
        )


def _no_type(target: str, error: Exception) -> RunStoreError:
    reason = " ".join(str(error).split())
    return RunStoreError(
        f"{target} cannot hold these rows ({reason:.200}): cast the column in the statement, as "
        "column::VARCHAR, and give each column a name of its own"
    )
