"""Files hold one idea and functions fit in a glance."""

import ast
import statistics

MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
MAX_POSITIONAL_ARGUMENTS = 3
COMMANDS = "clip_adapter/cli/"  # typer makes options of the arguments; nobody calls them

LONGER_FILES: dict[str, str] = {}
"""File: why it is one idea all the same."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def test_a_file_holds_one_idea(all_sources: dict[str, str]) -> None:
    long = {path for path, text in all_sources.items() if _n_lines(text) > MAX_FILE_LINES}
    assert long == set(LONGER_FILES)


def test_a_function_fits_in_a_glance(all_sources: dict[str, str]) -> None:
    long = [
        f"{path}: {function.name}"
        for path, text in all_sources.items()
        for function in _functions(text)
        if _n_code_lines(function) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_most_functions_are_far_shorter(sources: dict[str, str]) -> None:
    lengths = [_n_code_lines(each) for text in sources.values() for each in _functions(text)]
    assert statistics.median(lengths) <= 9
    assert statistics.quantiles(lengths, n=10)[-1] <= 20


def test_what_stands_fourth_in_a_call_is_named(sources: dict[str, str]) -> None:
    crowded = [
        f"{path}: {function.name}"
        for path, text in sources.items()
        if not path.startswith(COMMANDS)
        for function in _functions(text)
        if _is_public(function) and _n_positional(function) > MAX_POSITIONAL_ARGUMENTS
    ]
    assert crowded == []


def _n_lines(text: str) -> int:
    return len(text.splitlines())


def _functions(text: str) -> list[Function]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, Function)]


def _n_code_lines(function: Function) -> int:
    """From the first line after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _is_public(function: Function) -> bool:
    return not function.name.startswith("_") or function.name == "__init__"


def _n_positional(function: Function) -> int:
    arguments = [*function.args.posonlyargs, *function.args.args]
    return len([each for each in arguments if each.arg not in {"self", "cls"}])
