"""The prompt of the sql command: history, completion, statements of several lines."""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import completion_is_selected
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from clip_adapter.cli.sql_runner import StatementRunner, parse_parameters
from clip_adapter.cli.table_files import Format, format_of
from clip_adapter.errors import ClipAdapterError, UnknownNameError
from clip_adapter.escaping import escape_control_characters
from clip_adapter.runs import SavedQuestion, find_question, saved_questions, view_names
from clip_adapter.terminal import plain_console
from feature_cache import FeatureCacheError

KEYWORDS = (
    *("SELECT", "DISTINCT", "FROM", "WHERE", "GROUP BY ALL", "GROUP BY", "HAVING", "QUALIFY"),
    *("ORDER BY", "LIMIT", "JOIN", "LEFT JOIN", "SEMI JOIN", "ANTI JOIN", "USING", "ON", "AS"),
    *("AND", "OR", "NOT", "IN", "IS NULL", "BETWEEN", "LIKE", "ILIKE", "CASE", "WHEN", "THEN"),
    *("ELSE", "END", "WITH", "UNION ALL", "EXCEPT", "INTERSECT", "VALUES", "PIVOT", "UNPIVOT"),
    *("DESCRIBE", "SUMMARIZE", "SHOW TABLES", "EXPLAIN", "FILTER", "OVER", "PARTITION BY", "DESC"),
    *("avg", "count", "max", "median", "min", "stddev", "sum", "arg_max", "round", "unnest"),
)
# Other schemas have tables of the same names, which are not for users.
_LIST_VIEWS = """
SELECT view_name AS name, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal
UNION ALL
SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', comment FROM duckdb_functions()
WHERE schema_name = 'main' AND function_type = 'table_macro' AND NOT internal
ORDER BY name
"""
WORD = re.compile(r"[\w.]*$")
FORMATS = tuple(form for form in Format if form is not Format.PARQUET)
COMMANDS = {
    ".views": "the views and table macros",
    ".describe VIEW": "its columns",
    ".questions": "the questions that have a name",
    ".question NAME": "run one; parameters as NAME=VALUE behind it",
    ".format FORMAT": ", ".join(FORMATS),
    ".help": "this, as help does",
    ".quit": "leave, as quit and Ctrl-D do",
    ".exit": "leave, as exit does",
}
NAMES = tuple(usage.partition(" ")[0] for usage in COMMANDS)
WITHOUT_DOT = frozenset({"help", "quit", "exit"})
HELP = "\n".join(
    [
        "A statement of one line or several ends in a semicolon; Ctrl-C stops it.",
        *(f"{usage:<20}{meaning}" for usage, meaning in COMMANDS.items()),
    ]
)


def run_prompt(runner: StatementRunner) -> None:
    """Answer statements until the user leaves; an error or Ctrl-C ends a statement, not the prompt.

    Args:
        runner: how they are answered; the store is read anew for each.
    """
    prompt = Prompt(replace(runner, is_prompt=True))
    session: PromptSession[str] = PromptSession(
        history=_history(),
        completer=SqlCompleter(lambda: prompt.columns, lambda: prompt.questions),
        multiline=True,
        key_bindings=_keys(),
        prompt_continuation="  ... ",
    )
    plain_console().print("SQL over the store; .help for help, .quit or Ctrl-D to leave.")
    while True:
        try:
            text = with_dot(session.prompt("sql> "))
        except KeyboardInterrupt:
            continue  # an empty line again, as in any shell
        except EOFError:
            return
        if text in {".quit", ".exit"}:
            return
        _answer(prompt, text)


def with_dot(text: str) -> str:
    """What was typed, without spaces around it; a command without its semicolon, and with its dot.

    >>> with_dot("quit;"), with_dot(".quit"), with_dot("select 1;")
    ('.quit', '.quit', 'select 1;')
    """
    stripped = text.strip()
    command = stripped.rstrip("; ")
    if command.casefold() in WITHOUT_DOT:
        return f".{command.casefold()}"
    return command if stripped.startswith(".") else stripped


def _answer(prompt: "Prompt", text: str) -> None:
    try:
        prompt.run(text)
    except KeyboardInterrupt:
        _complain("interrupted")
    except (ClipAdapterError, FeatureCacheError, OSError, typer.BadParameter) as error:
        _complain(f"error: {error}")


class Prompt:
    """What a line of the prompt does.

    Args:
        runner: how statements are answered.
    """

    def __init__(self, runner: StatementRunner) -> None:
        self._runner = runner

    def run(self, text: str) -> None:
        """Run statements, or a command of `COMMANDS`.

        Raises:
            ClipAdapterError: it cannot be run.
        """
        text = with_dot(text)
        if not text.startswith("."):
            if text.strip("; \n"):
                self._runner.write(SavedQuestion.parse(text), {})
            return
        name, *words = text.split()
        if name not in NAMES:
            raise UnknownNameError("command", name, NAMES)
        self._commands[name](words)

    @property
    def _commands(self) -> dict[str, Callable[[list[str]], None]]:
        return {
            ".help": lambda _: plain_console().print(HELP),
            ".views": lambda _: self._list_views(),
            ".describe": lambda words: self._describe(*words),
            ".questions": lambda _: self._runner.list_questions(),
            ".question": lambda words: self._ask(*words),
            ".format": lambda words: self._choose_format(*words),
            ".quit": lambda _: None,
            ".exit": lambda _: None,
        }

    def _list_views(self) -> None:
        self.run(_LIST_VIEWS)

    def _describe(self, view: str = "", *_: str) -> None:
        if view not in view_names():
            raise UnknownNameError("view", view, view_names())
        self.run(
            "SELECT column_name, comment FROM duckdb_columns() "
            f"WHERE schema_name = 'main' AND table_name = '{view}' ORDER BY column_index"
        )

    def _ask(self, name: str = "", *words: str) -> None:
        question = find_question(name, self._runner.root)
        self._runner.write(question, parse_parameters(list(words)))

    def _choose_format(self, name: str = "", *_: str) -> None:
        form = format_of(name)
        if form not in FORMATS:
            raise UnknownNameError("format", name, map(str, FORMATS))
        self._runner = replace(self._runner, form=form)

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """The columns of each view."""
        with self._runner.connect() as database:
            rows = database.query(
                "SELECT table_name AS name, list(column_name ORDER BY column_index) AS columns "
                "FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal GROUP BY ALL"
            )
        return {row["name"]: row["columns"] for row in rows.to_pylist()}

    @property
    def questions(self) -> list[str]:
        """The names of the questions that can be used."""
        return list(saved_questions(self._runner.root, on_unusable=lambda _: None))


class SqlCompleter(Completer):
    """Completes views, their columns and keywords; behind `VIEW.` its columns alone.

    Of a command with a dot, its name and what stands behind it are completed.

    Args:
        columns: the columns of each view, asked for when a word is first completed.
        questions: the names of the saved questions, asked for when one is completed.
    """

    def __init__(
        self, columns: Callable[[], dict[str, list[str]]], questions: Callable[[], list[str]]
    ) -> None:
        self._columns, self._questions = columns, questions

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """The words that the one before the cursor may become."""
        del complete_event
        if document.text_before_cursor.startswith("."):
            yield from self._of_command(document.text_before_cursor)
            return
        found = WORD.search(document.text_before_cursor)
        word = found[0] if found else ""
        if not word and not document.text_before_cursor.strip():
            return
        view, dot, begun = word.rpartition(".")
        if dot and view:
            yield from _completions(begun, self._columns().get(view, []), "column")
            return
        columns = self._columns()
        named = [name for name in columns if re.search(rf"\b{name}\b", document.text)]
        # Of all views, unless the statement names some already.
        offered = dict.fromkeys(
            column for name in named or columns for column in columns[name] if word
        )
        yield from _completions(word, offered, "column")
        yield from _completions(word, view_names(), "view")
        if word:
            yield from _completions(word, KEYWORDS, "")

    def _of_command(self, text: str) -> Iterable[Completion]:
        name, space, behind = text.partition(" ")
        begun = behind.lstrip()
        if not space:
            yield from _completions(name, NAMES, "command")
        elif name == ".question":
            yield from _completions(begun, self._questions(), "question")
        elif name == ".describe":
            yield from _completions(begun, view_names(), "view")
        elif name == ".format":
            yield from _completions(begun, FORMATS, "format")


def _completions(begun: str, names: Iterable[str], kind: str) -> Iterable[Completion]:
    for name in names:
        if name.casefold().startswith(begun.casefold()) and name != begun:
            yield Completion(name, start_position=-len(begun), display_meta=kind)


def _keys() -> KeyBindings:
    """Return ends a statement behind its semicolon, and a command that begins with a dot."""
    keys = KeyBindings()

    @keys.add("enter", filter=~completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text.strip()
        if not text or with_dot(text).startswith(".") or text.endswith(";"):
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    @keys.add("enter", filter=completion_is_selected)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    return keys


def _history() -> History:
    """The statements of earlier prompts, in the user's folder of states; none where that is not writable."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    path = Path(state) / "clip-adapter" / "sql_history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _complain(message: str) -> None:
    shown = escape_control_characters(message, keep="\n")
    plain_console(stderr=True).print(shown, soft_wrap=True, style="red")
