"""The compare command, on runs that really happened."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.runs import query

Command = Callable[..., Any]


@pytest.fixture(name="compare")
def _compare(train: Command, command: Command, root: Path) -> Command:
    assert train("--methods", "zero-shot,linear-probe,clip-adapter").code == 0
    return partial(command, "compare", "clip-adapter", "linear-probe", "--root", root)


def test_a_comparison_agrees_with_the_leaderboard(compare: Command, root: Path) -> None:
    (name,) = query(root, "SELECT DISTINCT dataset FROM runs")["dataset"].to_pylist()
    found = json.loads(compare("--dataset", name, "--shots", "1", "--json").out)
    rows = query(root, "SELECT method, accuracy_mean FROM leaderboard").to_pylist()
    means = {row["method"]: row["accuracy_mean"] for row in rows}
    assert found["seeds"] == [1, 2]
    assert found["accuracy_a"] == pytest.approx(means["clip-adapter"], abs=1e-12)
    assert found["accuracy_b"] == pytest.approx(means["linear-probe"], abs=1e-12)
    assert found["difference"] == pytest.approx(found["accuracy_a"] - found["accuracy_b"])
    counted = [found[key] for key in ("a_right_more_often", "b_right_more_often", "equally_often")]
    assert sum(counted) == found["n_test"]
    shown = compare("--dataset", name, "--shots", "1").out
    for word in ("seeds 1, 2", "clip-adapter", "linear-probe", "95 % interval", "by seed"):
        assert word in shown
    assert found["verdict"] in shown or "clip-adapter is" in shown
    is_shown = found["difference_low"] > 0 or found["difference_high"] < 0
    assert is_shown == (found["p_value"] < 0.05) == (found["verdict"] != "no difference shown")
    assert found["adjusted_p_value"] == found["p_value"]
    assert (found["same_training_images"], found["scope"] in shown) == (False, True)
    assert ("--seeds 1-10" in shown) != is_shown
    refused = compare("--dataset", f"{name}s", "--shots", "1")
    assert (refused.code, refused.out) == (1, "")
    assert f"did you mean {name!r}" in refused.err


def test_nothing_is_compared_where_there_is_no_store(command: Command, root: Path) -> None:
    asked = ("compare", "a", "b", "--dataset", "digits", "--shots", "4")
    refused = command(*asked, "--root", root)
    assert refused.code == 1
    assert "no store at" in refused.err
