"""Provenance of runs: digests of code and settings, versions of software, memory."""

import ast
import dataclasses
import hashlib
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clip_adapter.errors import SettingsError
from clip_adapter.methods import Method, third_party_sources
from clip_adapter.runs import Versions

PACKAGE = Path(__file__).parents[1]
PACKAGES_THAT_TRAIN = ("adapters", "methods", "training")
"""What `datasets` decides, the images, splits and prompts, is in a run's fingerprint by itself."""
_EXTENSION = "methods/extended_classifier.py"
ADDS_CLASSES = (_EXTENSION, "pipeline/open_vocabulary.py")
"""Modules that add classes by name and test them, which decide numbers of such runs alone."""
TESTS_ELSEWHERE = (_EXTENSION, "pipeline/transfer.py")
"""Modules that test a classifier on another dataset, which decide numbers of such runs alone."""
FILES_OF_CLASSIFIERS = {
    "classifier_metadata.py",
    "conformal.py",
    "extended_classifier.py",
    "saved_classifier.py",
}
"""Modules of the packages that train which decide no number of runs of all classes."""
TOWER = ("encoders/text_transformer.py", "encoders/prompts.py")
"""Modules through which prompts are learned; all other features depend on the encoder alone."""


def digest_values(**values: Any) -> str:
    """SHA-256 of named values; equal values give equal digests, in every process.

    Raises:
        SettingsError: a value is an object whose text is its address in memory.
    """
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), default=_in_json)
    return hashlib.sha256(text.encode()).hexdigest()


def _in_json(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))  # their order differs between processes
    if f" object at {hex(id(value))}" in str(value):
        raise SettingsError(
            f"a setting is a {type(value).__name__}, by which runs cannot be told apart: expected "
            "numbers, text, or lists of them"
        )
    return str(value)


def digest_settings(method: Method, **prompts: Any) -> str:
    """SHA-256 of a method with all its settings, and of the prompts."""
    settings: Any = method  # a dataclass, which a protocol cannot express
    return digest_values(method=method.name, settings=dataclasses.asdict(settings), **prompts)


@cache
def digest_code(method: type[Method]) -> str:
    """SHA-256 over the syntax trees of the code that decides the numbers of a method's runs.

    That is the code of the packages that train and, for a method that is not built in, the code
    of the method. Comments, docstrings, layout and names of files are left out, so that nothing is
    trained again after an edit of prose or a move of files.
    """
    code = [file for part in PACKAGES_THAT_TRAIN for file in (PACKAGE / part).rglob("*.py")]
    code = [file for file in code if file.name not in FILES_OF_CLASSIFIERS]
    files = [*code, *(PACKAGE / file for file in TOWER)]
    ours = [file.read_text(encoding="utf-8") for file in files]
    return digest_syntax([*ours, *third_party_sources(method)])


@cache
def digest_modules(*files: str) -> str:
    """SHA-256 over the syntax trees of modules of this package, as `ADDS_CLASSES`."""
    return digest_syntax([(PACKAGE / file).read_text(encoding="utf-8") for file in files])


def digest_syntax(sources: Iterable[str]) -> str:
    """SHA-256 over the statements of Python modules, whatever their order and names.

    >>> digest_syntax(["x = 1  # one"]) == digest_syntax(["'Words.'", "x = (1)"])
    True
    """
    trees = sorted(filter(None, map(_syntax, sources)))
    return hashlib.sha256("\0".join(trees).encode()).hexdigest()


def _syntax(source: str) -> str:
    """The syntax tree of a module as text; empty for a module without statements."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a package may hold files that are no modules, such as templates
        return source
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_text(each)]
        elif isinstance(node, ast.ImportFrom) and _is_ours(node.module):
            node.module = None
        elif isinstance(node, ast.Import):
            node.names = [each for each in node.names if not _is_ours(each.name)]
    return json.dumps(_plain(tree)) if tree.body else ""


def _plain(node: Any) -> Any:
    """A tree of lists. `ast.dump` writes empty fields or not, as the version of Python has it."""
    if isinstance(node, list):
        return [_plain(each) for each in node]
    if not isinstance(node, ast.AST):
        return repr(node)
    said = [
        [name, _plain(value)] for name, value in ast.iter_fields(node) if value not in (None, [])
    ]
    return [type(node).__name__, sorted(said)]


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, of an attribute as well."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] == __name__.partition(".")[0]


@cache
def git_commit() -> str | None:
    """The commit of the checkout this code runs from; None outside a checkout."""
    checkout = PACKAGE.parent
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # constant words
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def versions() -> Versions:
    """Versions of the software of this process."""
    return Versions(
        clip_adapter=version("clip-adapter"),
        python=platform.python_version(),
        torch=version("torch"),
        open_clip=version("open_clip_torch"),
        numpy=version("numpy"),
    )


def peak_memory_bytes() -> int:
    """Peak resident memory of this process, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
