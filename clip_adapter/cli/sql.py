"""The sql command: the rows of statements, questions with names, a prompt, and a file for DuckDB."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clip_adapter.cli.app import INTERRUPTED
from clip_adapter.cli.options import Root
from clip_adapter.cli.sql_runner import (
    DEFAULT_MAX_SECONDS,
    StatementRunner,
    parse_parameters,
    print_status,
)
from clip_adapter.cli.summaries import watch
from clip_adapter.cli.table_files import (
    Format,
    FormatOption,
    OutputOption,
    OverwriteOption,
    checked_target,
    chosen_format,
)
from clip_adapter.errors import ParameterError
from clip_adapter.runs import (
    DEFAULT_MAX_MEMORY,
    SavedQuestion,
    export_views,
    find_question,
    view_names,
)
from clip_adapter.settings import Settings
from feature_cache import Location

LARGEST_FILE_BYTES = 1_048_576


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
    runner = StatementRunner(
        Settings.of(root=root).location,
        chosen_format(form, output),
        checked_target(output, overwrite=overwrite),
        overwrite=overwrite,
        max_seconds=max_seconds,
        max_memory=max_memory,
    )
    given = parse_parameters(parameter or [])
    is_prompt = not named and _is_terminal()
    if given and (is_prompt or questions or export is not None):
        raise ParameterError("--parameter has no statement: name one, a --file or a --question")
    if output is not None and is_prompt:
        raise ParameterError("--output has no statement: name one, a --file or a --question")
    try:
        if export is not None:
            _export(runner, export)
        elif questions:
            runner.list_questions()
        elif is_prompt:
            from clip_adapter.cli.sql_prompt import run_prompt  # noqa: PLC0415  # for a terminal alone

            run_prompt(runner)
        else:
            runner.write(_text(statement, file, question, root=runner.root), given)
    except (KeyboardInterrupt, SystemExit) as end:
        _drop_output()
        if isinstance(end, SystemExit):  # what SIGTERM raises
            raise
        print_status("interrupted")
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
    try:
        with file.expanduser().open("rb") as opened:
            content = opened.read(LARGEST_FILE_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ParameterError(f"there is no file {file}: expected a file of SQL") from None
    if len(content) > LARGEST_FILE_BYTES:
        raise ParameterError(f"{file} is too large for SQL: expected a megabyte at most")
    try:
        return SavedQuestion.parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ParameterError(f"{file} is no text in UTF-8: expected a file of SQL") from None


def _export(runner: StatementRunner, path: Path) -> None:
    target = path.expanduser().resolve()
    checked_target(target, overwrite=runner.overwrite)
    if runner.form is not Format.TABLE or runner.output is not None:
        raise ParameterError("--export writes all views: leave out --format and --output")
    n_tables = n_rows = 0

    with (
        runner.connect() as database,
        watch("exporting", total=len(view_names()), unit="views") as advance,
    ):

        def count(name: str, rows: int) -> None:
            del name
            nonlocal n_tables, n_rows
            n_tables, n_rows = n_tables + 1, n_rows + rows
            advance(1)

        export_views(database, target, overwrite=runner.overwrite, on_table=count)
    print_status(f"{n_tables} tables with {n_rows:,} rows written to {target}")


def _drop_output() -> None:
    """Leave unwritten what a reader does not take: it would be waited for when the interpreter ends."""
    if not sys.stdout.isatty():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
