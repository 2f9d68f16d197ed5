"""The tests stand where the code stands, and every module says what it is for."""

import ast
from pathlib import Path

MEANS_OF_SHOWING = {"itertools", "typing", "clip_adapter.lazy"}
"""Of names that a package imports when they are asked for."""


def test_every_package_has_a_mirror_among_the_tests(
    sources: dict[str, str], checkout: Path
) -> None:
    packages = {str(Path(path).parent) for path in sources} - {"clip_adapter"}
    bare = {
        package
        for package in packages
        if not list((checkout / "tests" / package).glob("test_*.py"))
    }
    assert bare == set()


def test_every_folder_of_tests_mirrors_something(checkout: Path) -> None:
    kinds = {"architecture", "golden", "e2e"}
    tests = checkout / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    strays = [
        str(folder)
        for folder in folders
        if folder.parts[0] not in kinds and not (checkout / folder).is_dir()
    ]
    assert strays == []


def test_no_two_test_files_share_a_name(checkout: Path) -> None:
    names = [path.name for path in (checkout / "tests").rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_every_module_begins_with_what_it_is_for(sources: dict[str, str]) -> None:
    silent = [path for path, text in sources.items() if not ast.get_docstring(ast.parse(text))]
    assert silent == []


def test_a_package_imports_by_name_what_it_shows(sources: dict[str, str]) -> None:
    """`from x import y as y`: whoever reads the package sees all that it offers."""
    hidden = [
        f"{path}: {alias.name}"
        for path, text in sources.items()
        if path.endswith("__init__.py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and node.module not in MEANS_OF_SHOWING
        for alias in node.names
        if alias.asname != alias.name
    ]
    assert hidden == []
