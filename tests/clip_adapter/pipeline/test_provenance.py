import ast
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.encoders.prompts import tokenize_whole
from clip_adapter.encoders.text_transformer import OpenClipTextTower
from clip_adapter.methods import ClipAdapter, ZeroShot, create_method
from clip_adapter.pipeline import provenance
from clip_adapter.pipeline.provenance import (
    ADDS_CLASSES,
    TESTS_ELSEWHERE,
    TOWER,
    digest_code,
    digest_modules,
    digest_settings,
    digest_syntax,
    digest_values,
    git_commit,
    peak_memory_bytes,
    versions,
)

PROMPTS = {"class_names": ("cat", "dog"), "templates": ("a {}.",)}


def test_a_digest_does_not_depend_on_the_order_of_the_names() -> None:
    assert digest_values(a=1, b=2) == digest_values(b=2, a=1)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": create_method("clip-adapter", {"epochs": 3}), **PROMPTS},
        {"method": create_method("clip-adapter", {"residual_ratios": [0.2]}), **PROMPTS},
        {"method": create_method("linear-probe"), **PROMPTS},
        {"method": create_method("clip-adapter"), **PROMPTS, "templates": ("the {}.",)},
        {"method": create_method("clip-adapter"), **PROMPTS, "class_names": ("cat", "hound")},
    ],
)
def test_any_change_of_settings_or_prompts_changes_the_digest(changed: dict[str, object]) -> None:
    same = digest_settings(create_method("clip-adapter"), **PROMPTS)
    assert digest_settings(create_method("clip-adapter"), **PROMPTS) == same
    assert digest_settings(**changed) != same  # type: ignore[arg-type]  # a method among values


def test_the_digest_of_the_code_is_one_of_the_whole_process() -> None:
    assert len(digest_code(ZeroShot)) == 64
    assert digest_code(ZeroShot) == digest_code(ClipAdapter)


@pytest.mark.parametrize(
    "file",
    [
        "adapters/residual.py",
        "encoders/prompts.py",
        "methods/gda.py",
        "training/evaluation.py",
    ],
)
def test_a_statement_in_what_trains_changes_the_digest_of_the_code(
    code_with: Callable[[str], str], file: str
) -> None:
    assert code_with(file) != digest_code(ZeroShot)


@pytest.mark.parametrize(
    "file",
    ["datasets/fewshot.py", "encoders/loading.py", "methods/conformal.py", "pipeline/train.py"],
)
def test_a_statement_elsewhere_leaves_the_digest_of_the_code(
    code_with: Callable[[str], str], file: str
) -> None:
    assert code_with(file) == digest_code(ZeroShot)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("methods/extended_classifier.py", (ADDS_CLASSES, TESTS_ELSEWHERE)),
        ("pipeline/open_vocabulary.py", (ADDS_CLASSES,)),
        ("pipeline/transfer.py", (TESTS_ELSEWHERE,)),
    ],
)
def test_what_decides_runs_of_other_protocols_alone_is_in_their_fingerprints_alone(
    code_with: Callable[..., str], file: str, changes: tuple[tuple[str, ...], ...]
) -> None:
    before = {
        files: digest_modules.__wrapped__(*files) for files in (ADDS_CLASSES, TESTS_ELSEWHERE)
    }
    assert code_with(file) == digest_code(ZeroShot)
    after = {files: digest_modules.__wrapped__(*files) for files in before}
    assert tuple(files for files in before if before[files] != after[files]) == changes


@pytest.fixture(name="code_with")
def _code_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """The digest of the code with one more statement in a file of the package, which stays changed."""
    package = provenance.PACKAGE

    def digest(file: str) -> str:
        copy = shutil.copytree(package, tmp_path / "copy", ignore=shutil.ignore_patterns("*.pyc"))
        with (copy / file).open("a") as changed:
            changed.write("\nx = 1\n")
        monkeypatch.setattr(provenance, "PACKAGE", copy)
        return digest_code.__wrapped__(ZeroShot)

    return digest


CODE = """
from math import exp
from clip_adapter.training import evaluate

def scale(x: float) -> float:
    return -exp(x)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("def scale", "# Why it is so.\ndef scale"),
        ("    return", '    """Scale a number."""\n    return'),
        ("\nfrom math", '"""Numbers."""\n\nfrom math'),
        ("return -exp(x)", "return -exp(\n        x\n    )"),
        ("clip_adapter.training", "clip_adapter.training.evaluation"),
    ],
)
def test_prose_layout_and_moves_leave_the_digest_of_code(before: str, after: str) -> None:
    assert before in CODE
    assert digest_syntax([CODE.replace(before, after)]) == digest_syntax([CODE])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("-exp", "exp"),
        ("-exp(x)", "None"),
        (" -exp(x)", ""),
        ("import exp", "import log as exp"),
        ("from math", "from cmath"),
        ("x)", "2 * x)"),
    ],
)
def test_another_statement_is_another_digest_of_code(before: str, after: str) -> None:
    assert before in CODE
    assert digest_syntax([CODE.replace(before, after)]) != digest_syntax([CODE])


def test_a_field_that_another_python_leaves_empty_is_no_part_of_the_digest_of_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = digest_syntax([CODE])
    monkeypatch.setattr(
        ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "type_params"), raising=True
    )
    monkeypatch.setattr(ast.FunctionDef, "type_params", [], raising=False)
    assert digest_syntax([CODE]) == expected


def test_the_order_and_number_of_empty_modules_leave_the_digest_of_code() -> None:
    other = "y = 2"
    assert digest_syntax([CODE, other]) == digest_syntax([other, '"""Only words."""', "", CODE])


@pytest.mark.parametrize("computes", [OpenClipTextTower, tokenize_whole])
def test_what_prompts_are_learned_through_is_part_of_the_code(computes: Any) -> None:
    module: str = computes.__module__
    assert f"{module.removeprefix('clip_adapter.').replace('.', '/')}.py" in TOWER


def test_the_commit_is_the_one_of_this_checkout() -> None:
    commit = git_commit()
    is_a_checkout = (Path(__file__).parents[3] / ".git").exists()
    assert (commit is not None and len(commit) == 40) == is_a_checkout


def test_what_the_process_runs_is_known() -> None:
    assert all(vars(versions()).values())
    assert peak_memory_bytes() > 10**7
