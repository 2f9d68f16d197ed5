"""Nothing stored can run code or change how it is shown: no pickle, eval, shell or markup in names."""

import ast
from collections.abc import Iterator

import pytest

FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "torch.load",
    "torch.jit.load",
    "torch.save",
    "np.load",
    "np.save",
    "np.savez",
    "np.savez_compressed",
}
MUST_SAY_NO_PICKLE = ("format.read_array", "format.write_array")
"""Of numpy.lib; the second would pickle unasked."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from joblib import load", ["joblib"]),
        ("x = torch.load('f')", ["torch.load"]),
        ("torch.load('f', weights_only=True)", ["torch.load of weights only"]),
        ("torch.load('f', weights_only=strict)", ["torch.load"]),
        ("subprocess.run(command, shell=True)", ["shell=True"]),
        ("np.load('f', allow_pickle=True)", ["np.load", "allow_pickle=True"]),
        ("np.savez('f', x)", ["np.savez"]),
        ("np.lib.format.write_array(f, x)", ["write_array without allow_pickle=False"]),
        ("format.read_array(f, allow_pickle=False)", []),
        ("format.read_array(f, allow_pickle=yes)", ["allow_pickle=yes"]),
        ("read_array(stream, header)", []),
        ("re.compile('x'); json.load(f)", []),
    ],
)
def test_the_search_finds_what_it_is_meant_to_find(text: str, found: list[str]) -> None:
    assert list(_dangers(text)) == found


def test_no_module_pickles_evaluates_or_calls_a_shell(sources: dict[str, str]) -> None:
    found = [f"{path}: {danger}" for path, text in sources.items() for danger in _dangers(text)]
    # The exceptions of SECURITY.md: checkpoints of torch, and OpenAI's archives by their digest.
    assert sorted(found) == [
        "clip_adapter/encoders/checkpoints.py: torch.jit.load",
        "clip_adapter/encoders/checkpoints.py: torch.load of weights only",
    ]


def test_no_module_prints_but_the_command(sources: dict[str, str]) -> None:
    printing = [
        path
        for path, text in sources.items()
        if not path.startswith("clip_adapter/cli/") and "print" in _names_called(text)
    ]
    assert printing == []


def test_every_console_of_rich_shows_names_as_they_are(sources: dict[str, str]) -> None:
    """One that reads markup or emoji codes prints "features:cat: 3 rows" with a picture of a cat."""
    reading = [
        path
        for path, text in sources.items()
        if path != "clip_adapter/terminal.py"
        and {"Console", "Text.from_markup"} & _names_called(text)
    ]
    assert reading == []


def _dangers(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if _top(each.name) in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and _top(node.module or "") in FORBIDDEN_MODULES:
            yield node.module or ""
        elif isinstance(node, ast.Call):
            yield from _dangers_of_call(node)


def _dangers_of_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in FORBIDDEN_CALLS:
        of_weights = name == "torch.load" and given.get("weights_only") == "True"
        yield f"{name} of weights only" if of_weights else name
    if name.endswith(MUST_SAY_NO_PICKLE) and "allow_pickle" not in given:
        yield f"{name.rpartition('.')[2]} without allow_pickle=False"
    for keyword in call.keywords:
        if keyword.arg in {"shell", "allow_pickle"} and ast.unparse(keyword.value) != "False":
            yield f"{keyword.arg}={ast.unparse(keyword.value)}"


def _names_called(text: str) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return {ast.unparse(call.func) for call in calls}


def _top(module: str) -> str:
    return module.partition(".")[0]
