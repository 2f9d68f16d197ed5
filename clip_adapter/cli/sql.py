"""The sql command: the rows of statements, questions with names, a prompt, and a file for DuckDB."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import typer

from clip_adapter.cli.app import INTERRUPTED
from clip_adapter.cli.options import Root
from clip_adapter.cli.result_table import count_of_rows, print_rows
from clip_adapter.cli.summaries import watch
from clip_adapter.cli.table_files import (
    Format,
    FormatOption,
    OutputOption,
    OverwriteOption,
    checked_target,
    chosen_format,
    write_rows,
)
from clip_adapter.errors import ParameterError, UnknownNameError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import (
    DEFAULT_MAX_MEMORY,
    RunDatabase,
    SavedQuestion,
    Types,
    connect,
    export_views,
    find_question,
    parameters_of,
    saved_questions,
    statements_of,
    view_names,
)
from clip_adapter.settings import Settings
from clip_adapter.terminal import plain_console
from feature_cache import Location

DEFAULT_MAX_SECONDS = 300.0
LARGEST_FILE_BYTES = 1_048_576


@dataclass(frozen=True)
class Answers:
    """How statements are answered.

    Attributes:
        root: the store.
        form: format of the rows.
        output: file to write; None for standard output.
        overwrite: replace a file that exists.
        max_seconds: time that each statement may take in the database.
        max_memory: memory that a statement may take, as "8GB" or "50%".
    """

    root: Location
    form: Format = Format.TABLE
    output: Path | None = None
    overwrite: bool = False
    max_seconds: float = DEFAULT_MAX_SECONDS
    max_memory: str = DEFAULT_MAX_MEMORY

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
        values = _values(question, given)
        with self.connect() as database:
            for statement in statements or [question.statement]:
                used = {name: values[name] for name in parameters_of(statement) if name in values}
                self._write(database, statement, used)

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
            _say(f"{count_of_rows(counted.n_rows)} written to {self.output}")


class _Counted:
    """Batches that are counted as they pass."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches, self.n_rows = batches, 0

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            self.n_rows += batch.num_rows
            yield batch


def sql(
    statement: Annotated[
        str | None,
        typer.Argument(
            help=f"One SELECT over the views {', '.join(view_names())}. Without one: a prompt, or what standard "
            "input holds.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Run the statements of this file.", show_default=False),
    ] = None,
    question: Annotated[
        str | None,
        typer.Option("--question", "-q", help="Run the question of this name.", show_default=False),
    ] = None,
    questions: Annotated[
        bool, typer.Option("--questions", help="List the questions that have a name.")
    ] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            "-p",
            metavar="NAME=VALUE",
            help="Value of $NAME, in JSON or plain words; once for each.",
            show_default=False,
        ),
    ] = None,
    form: FormatOption = None,
    output: OutputOption = None,
    overwrite: OverwriteOption = False,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            metavar="FILE.duckdb",
            help="Write all views as tables of a file that DuckDB 1.0 and later open.",
            show_default=False,
        ),
    ] = None,
    max_seconds: Annotated[
        float, typer.Option(min=0.01, help="Stop a statement after so many seconds.")
    ] = DEFAULT_MAX_SECONDS,
    max_memory: Annotated[
        str, typer.Option(metavar="SIZE", help="Memory of a statement: 8GB, or a part of all.")
    ] = DEFAULT_MAX_MEMORY,
    root: Root = None,
) -> None:
    """Ask DuckDB about runs, metrics and predictions; nothing is locked or written.

    Ctrl-C ends a statement. Alone on a terminal, the command is a prompt with history and completion.
    """
    asked = {
        "a statement": statement,
        "--file": file,
        "--question": question,
        "--questions": questions or None,
        "--export": export,
    }
    named = [name for name, value in asked.items() if value is not None]
    if len(named) > 1:
        raise ParameterError(f"found {' and '.join(named)}: expected one of them")
    answers = Answers(
        Settings.of(root=root).location,
        chosen_format(form, output),
        checked_target(output, overwrite=overwrite),
        overwrite=overwrite,
        max_seconds=max_seconds,
        max_memory=max_memory,
    )
    given = parse_parameters(parameter or [])
    try:
        if export is not None:
            _export(answers, export)
        elif questions:
            _list_questions(answers)
        elif named or not _is_terminal():
            answers.write(_text(statement, file, question, root=answers.root), given)
        else:
            from clip_adapter.cli.sql_prompt import run_prompt  # noqa: PLC0415  # for a terminal alone

            run_prompt(answers)
    except (KeyboardInterrupt, SystemExit) as end:
        _drop_output()
        if isinstance(end, SystemExit):  # what SIGTERM raises
            raise
        _say("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _text(
    statement: str | None, file: Path | None, question: str | None, *, root: Location
) -> SavedQuestion:
    """What is asked: a statement, a file, a question with a name, or standard input."""
    if question is not None:
        return find_question(question, root)
    if statement is not None:
        return SavedQuestion.parse(statement)
    if file is None:
        return SavedQuestion.parse(sys.stdin.read() if sys.stdin else "")
    with file.expanduser().open("rb") as opened:
        content = opened.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise ParameterError(f"{file} is too large for SQL: expected a megabyte at most")
    try:
        return SavedQuestion.parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ParameterError(f"{file} is no text in UTF-8: expected a file of SQL") from None


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
        except json.JSONDecodeError:
            values[name] = value
    return values


def _values(question: SavedQuestion, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all parameters; a text without declarations takes those that it uses."""
    if question.parameters:
        return question.values(given)
    used = sorted(parameters_of(question.statement))
    for name in given:
        if name not in used:
            raise UnknownNameError("parameter", name, used)
    for name in used:
        if name not in given:
            raise ParameterError(f"${name} has no value: give one with --parameter {name}=VALUE")
    return dict(given)


def _list_questions(answers: Answers) -> None:
    known = saved_questions(answers.root)
    rows = [
        {
            "question": each.name,
            "rows": each.description,
            "parameters": ", ".join(each.parameters),
        }
        for each in known.values()
    ]
    table = pa.Table.from_pylist(
        rows, pa.schema([(name, pa.string()) for name in ("question", "rows", "parameters")])
    )
    if answers.form is Format.TABLE:
        print_rows([table], plain_console())
    else:
        write_rows([table], answers.form, answers.output, overwrite=answers.overwrite)


def _export(answers: Answers, path: Path) -> None:
    target = path.expanduser().resolve()
    checked_target(target, overwrite=answers.overwrite)
    if answers.form is not Format.TABLE or answers.output is not None:
        raise ParameterError("--export writes all views: leave out --format and --output")
    n_tables = n_rows = 0

    with (
        answers.connect() as database,
        watch("exporting", total=len(view_names()), unit="views") as advance,
    ):

        def count(name: str, rows: int) -> None:
            del name
            nonlocal n_tables, n_rows
            n_tables, n_rows = n_tables + 1, n_rows + rows
            advance(1)

        export_views(database, target, overwrite=answers.overwrite, on_table=count)
    _say(f"{n_tables} tables with {n_rows:,} rows written to {target}")


def _drop_output() -> None:
    """Leave unwritten what a reader does not take: it would be waited for when the interpreter ends."""
    if not sys.stdout.isatty():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    plain_console(stderr=True).print(escape_control_characters(text), soft_wrap=True)
