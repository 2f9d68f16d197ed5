"""The files and functions that the documents name exist, and each step of a walk calls the next."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

MOST_PIPELINE_FILES = 5
WALKS = ("An image becomes a stored feature", "A feature becomes a run row")

Sources = dict[str, str]


class Step(NamedTuple):
    path: str
    name: str


@pytest.fixture(scope="module", name="text")
def _text(checkout: Path) -> str:
    return (checkout / "docs/architecture.md").read_text()


@pytest.fixture(name="walk")
def _walk(request: pytest.FixtureRequest, text: str) -> list[Step]:
    section = text.partition(f"\n## {request.param}\n")[2].partition("\n## ")[0]
    return [Step(*found) for found in re.findall(r"^\d+\. `(\S+): (\S+)`", section, re.MULTILINE)]


@pytest.mark.parametrize("walk", WALKS, indirect=True)
def test_every_step_of_a_walk_is_called_by_one_before_it(
    walk: list[Step], sources: Sources
) -> None:
    assert len(walk) > 5
    assert list(_problems(walk, sources)) == []


@pytest.mark.parametrize("walk", WALKS, indirect=True)
def test_a_walk_leads_through_few_files_of_the_pipeline(walk: list[Step]) -> None:
    own = {step.path for step in walk if step.path.startswith("clip_adapter/pipeline/")}
    assert 0 < len(own) <= MOST_PIPELINE_FILES


@pytest.mark.parametrize("title", WALKS)
def test_the_readme_leads_to_both_walks(title: str, checkout: Path) -> None:
    anchor = title.lower().replace(" ", "-")
    assert f"(docs/architecture.md#{anchor})" in (checkout / "README.md").read_text()


def test_every_function_that_the_document_names_is_defined(text: str, sources: Sources) -> None:
    named = [Step(*found) for found in re.findall(r"`(\S+\.py): ([\w.]+)`", text)]
    assert [step for step in named if _find(step, sources) is None] == []


def test_the_layers_of_the_document_are_those_that_are_held(text: str, checkout: Path) -> None:
    declared = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["importlinter"]
    outer, inner = (each["layers"] for each in declared["contracts"] if each["type"] == "layers")
    assert "clip_adapter.cli" in outer[-1]
    assert "\n".join(["```text", *outer, *inner[1:], "```"]) in text


def test_every_file_of_python_that_a_document_names_exists(
    checkout: Path, all_sources: Sources
) -> None:
    known = {f"/{path}" for path in all_sources}
    absent = [
        f"{document.name}: {path}"
        for document in [*checkout.glob("[!C]*.md"), *(checkout / "docs").rglob("*.md")]
        for path in re.findall(r"`([\w/]+\.py)\b", document.read_text())
        if not any(each.endswith(f"/{path}") for each in known)
    ]
    assert absent == []


ONE = {
    "a/one.py": "from a import two\nfrom a.three import Far, far\n"
    "def start(): return _helped()\ndef _helped(): return two(), far\ndef aside(): ...",
    "a/__init__.py": "if TYPE:\n    from a.two import two as two",
    "a/two.py": "def two(): ...",
    "a/three.py": "class Far:\n    def go(self): ...\ndef far(): Far",
}


@pytest.mark.parametrize(
    ("steps", "problems"),
    [
        (["a/one.py: start", "a/two.py: two", "a/three.py: far"], []),
        (["a/one.py: start", "a/three.py: far", "a/three.py: Far"], []),
        (["a/one.py: aside", "a/two.py: two"], ["a/two.py: two is called by no step before it"]),
        (["a/two.py: two", "a/one.py: start"], ["a/one.py: start is called by no step before it"]),
        (["a/one.py: start", "a/two.py: three"], ["a/two.py: three is not defined"]),
        (["a/one.py: start", "a/gone.py: two"], ["a/gone.py: two is not defined"]),
        (
            ["a/one.py: start", "a/three.py: Far.go"],
            ["a/three.py: Far.go is called by no step before it"],
        ),
    ],
)
def test_the_check_finds_a_step_that_is_gone_or_not_called(
    steps: list[str], problems: list[str]
) -> None:
    walk = [Step(*each.split(": ")) for each in steps]
    assert list(_problems(walk, ONE)) == problems


def _problems(walk: list[Step], sources: Sources) -> Iterator[str]:
    for number, step in enumerate(walk):
        before = [each for each in walk[:number] if _find(each, sources) is not None]
        if _find(step, sources) is None:
            yield f"{step.path}: {step.name} is not defined"
        elif number and not any(_calls(each, step, sources) for each in before):
            yield f"{step.path}: {step.name} is called by no step before it"


def _calls(caller: Step, called: Step, sources: Sources) -> bool:
    """Whether a function, or one of its module that it uses, uses what its module imports."""
    owner, _, method = called.name.partition(".")
    if _origin(caller.path, owner, sources) != Step(called.path, owner):
        return False
    return (method or owner) in _used(caller, sources)


def _used(step: Step, sources: Sources) -> set[str]:
    """Names and attributes in a function, and in what it uses of its own module."""
    defined: dict[str, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(sources[step.path])):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.setdefault(node.name, []).append(node)
    used: set[str] = set()
    todo = [_find(step, sources)]
    while todo:
        for node in ast.walk(todo.pop()):
            name = getattr(node, "id", None) or getattr(node, "attr", None)
            if isinstance(node, ast.Name | ast.Attribute) and name not in used:
                used.add(name)
                todo += defined.get(name, [])
    return used


def _find(step: Step, sources: Sources) -> ast.AST | None:
    """The definition of a function, a class, or a method as `Class.method`."""
    node: ast.AST | None = ast.parse(sources[step.path]) if step.path in sources else None
    for part in step.name.split("."):
        inside = getattr(node, "body", [])
        node = next((each for each in inside if getattr(each, "name", None) == part), None)
    return node


def _origin(path: str, name: str, sources: Sources) -> Step | None:
    """Where a name that a module defines or imports is defined; None outside the project."""
    if _find(Step(path, name), sources) is not None:
        return Step(path, name)
    for node in ast.walk(ast.parse(sources[path])):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (module := _file(node, sources)):
                    return _origin(module, alias.name, sources)
    return None


def _file(node: ast.ImportFrom, sources: Sources) -> str | None:
    base = (node.module or "").replace(".", "/")
    return next((each for each in (f"{base}.py", f"{base}/__init__.py") if each in sources), None)
