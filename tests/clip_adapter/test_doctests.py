"""Every example in a docstring of the library is true."""

import ast
import doctest
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import clip_adapter

PACKAGE = Path(clip_adapter.__file__).parent
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def examples() -> Iterator[tuple[str, str, str]]:
    """Module, name and docstring of everything that has an example, read from the sources.

    doctest's own search looks at functions as they were imported, and passes over those that
    the checker of shapes has wrapped.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = ".".join(part for part in parts if part != "__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, Documented) else None
            if text and ">>>" in text:
                yield module, getattr(node, "name", module), text


@pytest.mark.parametrize(("module", "name", "text"), list(examples()))
def test_the_example_is_true(module: str, name: str, text: str) -> None:
    names = dict(vars(import_module(module)))
    test = doctest.DocTestParser().get_doctest(text, names, name, module, 0)
    report: list[str] = []
    outcome = doctest.DocTestRunner().run(test, out=report.append)
    assert outcome.attempted
    assert not outcome.failed, "".join(report)


def test_there_are_examples() -> None:
    assert {"nearest", "create_method"} <= {name for _, name, _ in examples()}
