"""No two modules import each other, whether at the top, inside a function or for types alone."""

import ast
from collections.abc import Iterable, Iterator, Mapping

import pytest

Graph = Mapping[str, set[str]]

PACKAGE = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    from shop.bread import Bread as Bread
"""


@pytest.mark.parametrize(
    ("bread", "butter", "circles"),
    [
        ("import shop.butter", "import shop.bread", [["shop.bread", "shop.butter"]]),
        ("from shop import butter", "from shop import Bread", [["shop.bread", "shop.butter"]]),
        ("from shop.butter import Butter", "", []),
        ("from . import butter", "from .bread import Bread", [["shop.bread", "shop.butter"]]),
        ("def bake():\n    from shop.butter import Butter", "import shop", []),
        (
            "def bake():\n    from shop.butter import Butter",
            "if TYPE_CHECKING:\n    from shop.bread import Bread",
            [["shop.bread", "shop.butter"]],
        ),
    ],
)
def test_the_search_finds_what_it_is_meant_to_find(
    bread: str, butter: str, circles: list[list[str]]
) -> None:
    texts = {"shop/__init__.py": PACKAGE, "shop/bread.py": bread, "shop/butter.py": butter}
    assert _circles(_imports(texts)) == circles


def test_no_modules_import_each_other(sources: dict[str, str]) -> None:
    assert _circles(_imports(sources)) == []


def _imports(texts: Mapping[str, str]) -> Graph:
    """The modules that each module imports; a package's name stands for the module that has it."""
    modules = {path.removesuffix(".py").replace("/", "."): text for path, text in texts.items()}
    modules = {name.removesuffix(".__init__"): text for name, text in modules.items()}
    packages = {
        path.removesuffix("/__init__.py").replace("/", ".") for path in texts if "__init__" in path
    }
    named = {
        name: list(_named(name, text, is_package=name in packages))
        for name, text in modules.items()
    }
    shown = {
        (package, name): (module, name)
        for package in packages
        for module, name in named.get(package, [])
        if name
    }

    def home(module: str, name: str) -> str:
        if f"{module}.{name}" in modules:
            return f"{module}.{name}"
        while (module, name) in shown and shown[module, name][0] != module:
            module, name = shown[module, name]
        return module

    return {
        # A package that shows names of its modules is not imported by them in order to be used.
        each: {home(*one) for one in imported} & modules.keys() - {each}
        for each, imported in named.items()
        if each not in packages
    }


def _named(module: str, text: str, *, is_package: bool) -> Iterator[tuple[str, str]]:
    """Module and name, or an empty name, of each import anywhere in a module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = module.split(".")[: -node.level + is_package or None] if node.level else []
            place = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((place, each.name) for each in node.names)


def _circles(graph: Graph) -> list[list[str]]:
    """Groups of modules of which each reaches every other."""
    reached = {each: _reached(graph, graph[each]) for each in graph}
    groups = {
        tuple(sorted({each, *(other for other in reached[each] if each in reached.get(other, ()))}))
        for each in graph
        if each in reached[each]
    }
    return sorted(map(list, groups))


def _reached(graph: Graph, start: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting += graph.get(module, ())
    return found
