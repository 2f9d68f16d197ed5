import json
from pathlib import Path

import pytest

from benchmarks.machine import describe_machine
from benchmarks.records import LATEST, Figures, merge_into
from benchmarks.rounds import Spread, ratio_of, take_turns


def test_sides_take_turns() -> None:
    order: list[str] = []

    def turn(side: str, number: int) -> float:
        order.append(f"{side}{number}")
        return float(number)

    values = take_turns(
        {"a": lambda number: turn("a", number), "b": lambda number: turn("b", number)}, rounds=2
    )
    assert order == ["a0", "b0", "a1", "b1"]
    assert values == {"a": [0.0, 1.0], "b": [0.0, 1.0]}


def test_what_slows_both_sides_of_a_round_leaves_the_ratio_alone() -> None:
    assert ratio_of([1, 10, 3], [2, 20, 6]) == Spread(0.5, 0.5, 0.5)


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    assert ratio_of([1, 2, 9], [1, 1, 1]) == Spread(2, 1, 9)


def test_a_benchmark_leaves_the_figures_of_others_alone(tmp_path: Path) -> None:
    path, machine = tmp_path / "latest.json", describe_machine()
    merge_into(path, Figures(name="one", about="1", headlines={"a_over_b": 0.91234}), machine)
    merge_into(path, Figures(name="two", about="2", headlines={"c_over_d": 2.0}), machine)
    record = json.loads(path.read_text())
    assert (record["a_over_b"], record["c_over_d"]) == (0.912, 2.0)
    assert set(record["benchmarks"]) == {"one", "two"}
    assert record["benchmarks"]["one"]["machine"]["cores"] == machine.cores


def test_a_headline_that_is_measured_no_more_goes(tmp_path: Path) -> None:
    path, machine = tmp_path / "latest.json", describe_machine()
    merge_into(path, Figures(name="one", about="", headlines={"old": 1.0}), machine)
    merge_into(path, Figures(name="one", about="", headlines={"new": 1.0}), machine)
    assert set(json.loads(path.read_text())) == {"new", "benchmarks"}


@pytest.mark.parametrize(
    "headline",
    [
        "extract_over_bare_forward",
        "extract_over_plain_loop",
        "imagenet_size_seconds",
        "linear_probe_over_sklearn",
        "leaderboard_100k_seconds",
        "leaderboard_over_mlflow_10k",
        "load_over_npload",
        "orchestrated_over_library",
        "train_grid_d1024_over_plain_loop",
        "train_grid_d512_over_plain_loop",
    ],
)
def test_the_published_figures_name_their_machine(headline: str) -> None:
    record = json.loads(LATEST.read_text())
    owners = [each for each in record["benchmarks"].values() if headline in each["headlines"]]
    assert record[headline] > 0
    assert [owner["machine"]["cpu"] != "" for owner in owners] == [True]
