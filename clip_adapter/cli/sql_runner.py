"""Runs the statements of the sql command in turn, and writes their rows in a format."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import typer

from clip_adapter.cli.result_table import count_of_rows, print_rows
from clip_adapter.cli.table_files import Format, write_rows
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import (
    DEFAULT_MAX_MEMORY,
    RunDatabase,
    RunStoreError,
    SavedQuestion,
    Types,
    connect,
    parameters_of,
    saved_questions,
    statements_of,
)
from clip_adapter.terminal import plain_console
from feature_cache import Location

DEFAULT_MAX_SECONDS = 300.0


@dataclass(frozen=True)
class StatementRunner:
    """Runs statements on a store and writes their rows.

    Attributes:
        root: the store.
        form: format of the rows.
        output: file to write; None for standard output.
        overwrite: replace a file that exists.
        max_seconds: time that each statement may take in the database.
        max_memory: memory that a statement may take, as "8GB" or "50%".
        is_prompt: whether parameters are given behind `.question NAME`, and not with --parameter.
    """

    root: Location
    form: Format = Format.TABLE
    output: Path | None = None
    overwrite: bool = False
    max_seconds: float = DEFAULT_MAX_SECONDS
    max_memory: str = DEFAULT_MAX_MEMORY
    is_prompt: bool = False

    def connect(self) -> RunDatabase:
        """The store as it is now."""
        return connect(self.root, max_memory=self.max_memory)

    def write(self, question: SavedQuestion, given: Mapping[str, Any]) -> None:
        """Run the statements of a text in turn, and write the rows of each.

        Args:
            question: one statement or several.
            given: values of parameters.

        Raises:
            ClipAdapterError: a statement cannot be run, was stopped, or its rows cannot be written.
        """
        statements = statements_of(question.statement)
        if self.output is not None and len(statements) > 1:
            raise ParameterError(
                f"found {len(statements)} statements for one file: expected one statement with --output"
            )
        values = self._values(question, given)
        with self.connect() as database:
            for statement in statements:
                used = {name: values[name] for name in parameters_of(statement) if name in values}
                try:
                    self._write(database, statement, used)
                except RunStoreError as error:
                    raise _naming_parameter(error, used) from None

    def list_questions(self) -> None:
        """Write the questions that have a name, what their rows are, and their parameters.

        A file of the store that cannot be used is left out, with a warning on standard error.
        """
        columns = ("question", "rows", "parameters")
        questions = saved_questions(
            self.root, on_unusable=lambda error: print_status(f"warning: {error}")
        )
        found = (
            (each.name, each.description, ", ".join(each.parameters)) for each in questions.values()
        )
        rows = [dict(zip(columns, row, strict=True)) for row in found]
        table = pa.Table.from_pylist(rows, pa.schema([(name, pa.string()) for name in columns]))
        if self.form is Format.TABLE:
            print_rows([table], plain_console())
        else:
            write_rows([table], self.form, self.output, overwrite=self.overwrite)

    def _write(self, database: RunDatabase, statement: str, values: Mapping[str, Any]) -> None:
        types = Types.PARQUET if self.form is Format.PARQUET else Types.TEXT
        batches = database.stream(statement, values, max_seconds=self.max_seconds, types=types)
        with closing(batches):
            if self.form is Format.TABLE:
                print_rows(batches, plain_console())
                return
            counted = _Counted(batches)
            write_rows(counted, self.form, self.output, overwrite=self.overwrite)
        if self.output is not None:
            print_status(f"{count_of_rows(counted.n_rows)} written to {self.output}")

    def _values(self, question: SavedQuestion, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all parameters; a text without declarations takes those that it uses."""
        if question.parameters:
            return question.values(given, option="" if self.is_prompt else "--parameter ")
        used = sorted(parameters_of(question.statement))
        for name in given:
            if name not in used:
                raise UnknownNameError("parameter", name, used)
        for name in used:
            if name not in given:
                raise ParameterError(f"${name} has no value: {self._how_to_give(name)}")
        return dict(given)

    def _how_to_give(self, name: str) -> str:
        if self.is_prompt:
            return (
                "write the value in the statement, or save the statement as a question, whose "
                f"parameters are given as .question NAME {name}=VALUE"
            )
        return f"give one with --parameter {name}=VALUE"


class _Counted:
    """Batches that are counted as they pass."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches, self.n_rows = batches, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.n_rows += batch.num_rows
            yield batch


def parse_parameters(texts: list[str]) -> dict[str, Any]:
    """Values of parameters, from NAME=VALUE with the value in JSON or plain words.

    >>> parse_parameters(["dataset=eurosat", "shots=16", "top=null"])
    {'dataset': 'eurosat', 'shots': 16, 'top': None}

    Raises:
        typer.BadParameter: a text has another form.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().removeprefix("$")
        if not (equals and name):
            message = f"{text!r} is not of the form NAME=VALUE"
            raise typer.BadParameter(message)
        try:
            values[name] = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            values[name] = value
    return values


def _naming_parameter(error: RunStoreError, values: Mapping[str, Any]) -> RunStoreError:
    """An error of a conversion with the parameter whose value it quotes; any other as it is."""
    for name, value in values.items():
        if isinstance(value, str) and f"Could not convert string '{value}'" in str(error):
            return RunStoreError(f"the value of ${name} is of the wrong type: {error}")
    return error


def print_status(text: str) -> None:
    """Print a line on standard error."""
    plain_console(stderr=True).print(escape_control_characters(text), soft_wrap=True)
