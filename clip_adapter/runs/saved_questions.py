"""Questions with names: SQL files of the package, and of the folder `questions` of a store.

A file `NAME.sql` holds one statement that reads, below a header of comments:

    -- Classes that the current runs recognise worst, over all seeds.
    -- $dataset = null: name of a dataset; every one when null
    -- $top = 20: number of rows
    SELECT ... WHERE $dataset IS NULL OR dataset = $dataset ... LIMIT $top

The first line is a sentence that says what the rows are. Each line `-- $PARAMETER = VALUE: MEANING`
declares a parameter of the statement with its default in JSON; without ` = VALUE` it has to be given.
Every parameter of the statement is declared, and none but those. A name is of lower-case letters,
digits and hyphens, 60 at most, and says what is asked: `hard-classes`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from clip_adapter.errors import UnknownNameError
from clip_adapter.runs.errors import RunStoreError
from clip_adapter.runs.statements import check_question, parameters_of
from feature_cache import Location

FOLDER = "questions"
"""Folder of a store with the questions of its users."""
LARGEST_BYTES = 65_536
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
_PARAMETER = re.compile(r"--\s*\$(?P<name>\w+)(?:\s*=\s*(?P<default>.*?))?:\s+(?P<meaning>\S.*)")


@dataclass(frozen=True)
class Parameter:
    """A parameter of a question.

    Attributes:
        meaning: what it is, in a few words.
        is_required: it has no default.
        default: value when none is given.
    """

    meaning: str
    is_required: bool
    default: Any = None


@dataclass(frozen=True)
class SavedQuestion:
    """A statement with a name.

    Attributes:
        name: its name; empty for a file that is no saved question.
        description: a sentence that says what the rows are; empty when the file has none.
        statement: the SQL, header included.
        parameters: the parameters that the header declares, by name.
    """

    name: str
    description: str
    statement: str
    parameters: Mapping[str, Parameter]

    @classmethod
    def parse(cls, text: str, *, name: str = "") -> Self:
        """Read the header of a SQL file; a file without one has no description and no parameters.

        Raises:
            RunStoreError: the default of a parameter is no JSON, or a parameter is declared twice.
        """
        header: list[str] = []
        for line in text.strip().splitlines():
            if not line.startswith("--"):
                break
            header.append(line)
        parameters: dict[str, Parameter] = {}
        for found in filter(None, map(_PARAMETER.fullmatch, header)):
            if found["name"] in parameters:
                raise RunStoreError(
                    f"{_called(name)} declares the parameter ${found['name']} twice"
                )
            parameters[found["name"]] = _parameter(found, name)
        described = header[0] if header and not header[0].lstrip("- ").startswith("$") else ""
        return cls(name, described.removeprefix("--").strip(), text, parameters)

    def values(self, given: Mapping[str, Any], *, option: str = "") -> dict[str, Any]:
        """The value of every parameter: the one that is given, else the default.

        Args:
            given: values by the name of their parameter.
            option: what users write before NAME=VALUE to give one, for errors.

        Raises:
            UnknownNameError: a value is given for a parameter that is not declared.
            RunStoreError: a parameter without a default is not given, or one whose default is a number
                is given another value than a number or null.
        """
        for name, value in given.items():
            if name not in self.parameters:
                raise UnknownNameError(f"parameter of {_called(self.name)}", name, self.parameters)
            default = self.parameters[name].default
            if _is_number(default) and not (value is None or _is_number(value)):
                raise RunStoreError(
                    f"the parameter {name!r} of {_called(self.name)} has the value {value!r:.80}: "
                    f"expected a number, as {default}, or null"
                )
        absent = [
            name
            for name, parameter in self.parameters.items()
            if parameter.is_required and name not in given
        ]
        if absent:
            meaning = self.parameters[absent[0]].meaning
            raise RunStoreError(
                f"{_called(self.name)} needs the parameter {absent[0]!r} ({meaning}): "
                f"give it as {option}{absent[0]}=VALUE"
            )
        defaults = {name: each.default for name, each in self.parameters.items()}
        return {**defaults, **given}

    def check(self) -> None:
        """Check that the statement is a single one that reads, described, with its parameters declared.

        Raises:
            RunStoreError: it is not.
        """
        check_question(self.statement)
        used, declared = parameters_of(self.statement), frozenset(self.parameters)
        if used != declared:
            raise RunStoreError(
                f"{_called(self.name)} uses the parameters {_listed(used)} and declares "
                f"{_listed(declared)}: declare each as `-- $NAME = VALUE: MEANING`"
            )
        if not self.description:
            raise RunStoreError(
                f"{_called(self.name)} begins with no comment that says what it asks"
            )


def saved_questions(
    root: Location | None = None, *, on_unusable: Callable[[RunStoreError], None] | None = None
) -> dict[str, SavedQuestion]:
    """Every saved question by its name: those of the package, then those of a store.

    Args:
        root: store whose folder `questions` is read as well, where the store is a local folder. What is
            no regular file `*.sql` is passed over.
        on_unusable: called with the error of each file of the store that cannot be used, which is left
            out; None raises the first of these errors.

    Raises:
        RunStoreError: a file of the store cannot be used, such as one whose name breaks the rule; the
            message names it.
    """
    found = _packaged()
    for path in _files_of(root):
        try:
            found[path.stem] = _read(path)
        except RunStoreError as error:
            if on_unusable is None:
                raise
            on_unusable(error)
    return found


def find_question(name: str, root: Location | None = None) -> SavedQuestion:
    """The saved question of a name.

    Raises:
        UnknownNameError: there is none of that name.
        RunStoreError: a file of the store cannot be used; the message names it.
    """
    found = _packaged()
    files_of_users = {path.stem: path for path in _files_of(root) if _NAME.fullmatch(path.stem)}
    if name in files_of_users:
        return _read(files_of_users[name])
    if name not in found:
        raise UnknownNameError("question", name, [*found, *files_of_users])
    return found[name]


def _packaged() -> dict[str, SavedQuestion]:
    texts = {
        entry.name.removesuffix(".sql"): entry.read_text(encoding="utf-8")
        for entry in files("clip_adapter.runs").joinpath("questions").iterdir()
        if entry.name.endswith(".sql")
    }
    return {name: SavedQuestion.parse(texts[name], name=name) for name in sorted(texts)}


def _files_of(root: Location | None) -> list[Path]:
    if not isinstance(root, Path) or not (root / FOLDER).is_dir() or (root / FOLDER).is_symlink():
        return []
    return sorted(
        path for path in (root / FOLDER).glob("*.sql") if path.is_file() and not path.is_symlink()
    )


def _read(path: Path) -> SavedQuestion:
    try:
        question = SavedQuestion.parse(_text_of(path), name=path.stem)
        question.check()
    except (RunStoreError, OSError) as error:
        raise RunStoreError(f"{path} cannot be used: {error}") from None
    return question


def _text_of(path: Path) -> str:
    if not _NAME.fullmatch(path.stem):
        raise RunStoreError(
            "the name of a question is of lower-case letters, digits and hyphens, 60 at most: rename "
            f"the file{_allowed_name(path.stem)}"
        )
    if path.stem in _packaged():
        raise RunStoreError("it has the name of a question of clip-adapter: rename the file")
    with path.open("rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise RunStoreError(f"too large, a question has {LARGEST_BYTES:,} bytes at most")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RunStoreError("no text in UTF-8: save it as that") from None


def _allowed_name(name: str) -> str:
    close = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    return f", as {close}.sql" if _NAME.fullmatch(close) else ""


def _parameter(found: re.Match[str], question: str) -> Parameter:
    if found["default"] is None:
        return Parameter(found["meaning"], is_required=True)
    # The default may hold a colon as well.
    text = f"{found['default']}: {found['meaning']}"
    try:
        default, end = json.JSONDecoder().raw_decode(text)
    except (json.JSONDecodeError, RecursionError):
        end = len(text)
    colon, meaning = text[end:].lstrip()[:1], text[end:].lstrip()[1:].strip()
    if colon != ":" or not meaning:
        raise RunStoreError(
            f"{_called(question)} gives the parameter ${found['name']} the default "
            f'{found["default"]!r:.80}: expected JSON, such as null, 16 or "eurosat"'
        )
    return Parameter(meaning, is_required=False, default=default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _called(name: str) -> str:
    return f"the question {name!r}" if name else "the file"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names)) or "none"
