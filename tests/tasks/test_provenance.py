from pathlib import Path

import pytest

from clip_adapter.methods import create_method
from tasks.provenance import (
    digest_code,
    digest_settings,
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
    assert len(digest_code()) == 64
    assert digest_code() == digest_code()


def test_the_commit_is_the_one_of_this_checkout() -> None:
    commit = git_commit()
    is_a_checkout = (Path(__file__).parents[2] / ".git").exists()
    assert (commit is not None and len(commit) == 40) == is_a_checkout


def test_what_the_process_runs_is_known() -> None:
    assert all(vars(versions()).values())
    assert peak_memory_bytes() > 10**7
