"""What the views say of protocols and image choices, on runs made by hand."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from clip_adapter.errors import UnknownNameError
from clip_adapter.report.results import read_results
from clip_adapter.runs import (
    EvaluatedOn,
    RunResult,
    RunStore,
    RunStoreError,
    compare_methods,
    connect,
    query,
)

ResultOf = Callable[..., RunResult]


def halves(result: RunResult, base: float, new: float) -> RunResult:
    """A run that was trained on half of the classes."""
    metrics = {
        **result.metrics,
        ("test-base", "accuracy"): base,
        ("test-new", "accuracy"): new,
        ("test-base-among-all", "accuracy"): base - 0.1,
        ("test-new-among-all", "accuracy"): new - 0.1,
        ("test", "harmonic_mean"): 0.123,
    }
    return replace(result, run=replace(result.run, protocol="base-to-new"), metrics=metrics)


def ask(root: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = query(root, sql).to_pylist()
    return found


def test_base_to_new_has_the_harmonic_mean_of_each_seed_and_its_mean(
    tmp_path: Path, result_of: ResultOf
) -> None:
    pairs = [(0.8, 0.6), (0.9, 0.3), (0.5, 0.0)]
    RunStore(tmp_path).record(
        [
            halves(result_of(seed, split_fingerprint=f"split-{seed}"), *pair)
            for seed, pair in enumerate(pairs)
        ]
    )
    rows = ask(tmp_path, "SELECT seed, base, new, harmonic_mean FROM base_to_new ORDER BY seed")
    expected = [0.96 / 1.4, 0.45, 0.0]
    assert [(row["base"], row["new"]) for row in rows] == pairs
    assert [row["harmonic_mean"] for row in rows] == pytest.approx(expected)
    (means,) = ask(tmp_path, "FROM base_to_new_means")
    assert (means["seeds"], means["draws"]) == (3, 3)
    assert means["base_mean"] == pytest.approx(2.2 / 3)
    assert means["new_mean"] == pytest.approx(0.3)
    assert means["harmonic_mean_mean"] == pytest.approx(sum(expected) / 3)
    half_width = stats.t.ppf(0.975, 2) * stats.sem(expected)
    assert means["harmonic_mean_ci95"] == pytest.approx(half_width)
    assert means["base_ci95"] == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem([0.8, 0.9, 0.5]))


def test_a_single_seed_of_base_to_new_has_no_interval(tmp_path: Path, result_of: ResultOf) -> None:
    RunStore(tmp_path).record([halves(result_of(1), 0.8, 0.6)])
    (means,) = ask(tmp_path, "FROM base_to_new_means")
    assert (means["seeds"], means["harmonic_mean_ci95"], means["new_ci95"]) == (1, None, None)


def test_runs_of_another_protocol_are_on_no_board_of_all_classes(
    tmp_path: Path, result_of: ResultOf
) -> None:
    """Not even in place of a run of the same configuration and seed."""
    shifted = result_of(
        3, 0.1, seed=1, protocol="domain-shift", tested_on=EvaluatedOn(dataset="other")
    )
    RunStore(tmp_path).record(
        [result_of(1, 0.7, seed=1), halves(result_of(2, 0.9, seed=1), 0.9, 0.9), shifted]
    )
    rows = ask(tmp_path, "SELECT seeds, accuracy_mean FROM leaderboard")
    assert rows == [{"seeds": 1, "accuracy_mean": 0.7}]
    assert ask(tmp_path, "SELECT count(*) AS n FROM current_runs") == [{"n": 1}]
    assert ask(tmp_path, "SELECT count(*) AS n FROM protocol_runs") == [{"n": 2}]
    assert ask(tmp_path, "SELECT count(*) AS n FROM base_to_new") == [{"n": 1}]


def test_a_shift_stands_beside_the_run_of_the_same_training(
    tmp_path: Path, result_of: ResultOf
) -> None:
    def on(name: str) -> dict[str, Any]:
        return {"protocol": "cross-dataset", "tested_on": EvaluatedOn(dataset=name)}

    RunStore(tmp_path).record(
        [
            result_of(1, 0.7, seed=1, split_fingerprint="one"),
            result_of(2, 0.8, seed=2, split_fingerprint="two"),
            result_of(3, 0.4, seed=1, split_fingerprint="one", **on("near")),
            result_of(4, 0.5, seed=2, split_fingerprint="two", **on("near")),
            result_of(5, 0.2, seed=1, split_fingerprint="one", **on("far")),
            result_of(
                6, 0.3, seed=1, split_fingerprint="another", image_choice="budget:8", **on("far")
            ),
        ]
    )
    rows = ask(
        tmp_path,
        "SELECT source, target, seed, image_choice, accuracy_source, accuracy_target FROM shift",
    )
    assert [tuple(row.values()) for row in rows] == [
        ("digits", "far", 1, "budget:8", None, 0.3),
        ("digits", "far", 1, "own", 0.7, 0.2),
        ("digits", "near", 1, "own", 0.7, 0.4),
        ("digits", "near", 2, "own", 0.8, 0.5),
    ]


def test_means_on_another_dataset_are_over_the_seeds_that_have_both_accuracies(
    tmp_path: Path, result_of: ResultOf
) -> None:
    pairs = {1: (0.7, 0.4), 2: (0.8, 0.5), 3: (0.6, 0.1)}
    alone = {4: 0.9}  # its run on the own test split failed
    on: dict[str, Any] = {"protocol": "cross-dataset", "tested_on": EvaluatedOn(dataset="near")}
    results = [
        result_of(10 + seed, source, seed=seed, split_fingerprint=f"split-{seed}")
        for seed, (source, _) in pairs.items()
    ]
    results += [
        result_of(20 + seed, target, seed=seed, split_fingerprint=f"split-{seed}", **on)
        for seed, target in ({seed: target for seed, (_, target) in pairs.items()} | alone).items()
    ]
    RunStore(tmp_path).record(results)
    (means,) = ask(tmp_path, "FROM shift_means")
    assert (means["seeds"], means["draws"]) == (3, 3)
    for name, values in zip(("source", "target"), zip(*pairs.values(), strict=True), strict=True):
        assert means[f"accuracy_{name}_mean"] == pytest.approx(sum(values) / 3)
        half_width = stats.t.ppf(0.975, 2) * stats.sem(values)
        assert means[f"accuracy_{name}_ci95"] == pytest.approx(half_width)


def test_a_test_on_another_dataset_without_one_on_the_own_is_shown(
    tmp_path: Path, result_of: ResultOf
) -> None:
    on: dict[str, Any] = {"protocol": "cross-dataset", "tested_on": EvaluatedOn(dataset="near")}
    RunStore(tmp_path).record([result_of(1, 0.4, seed=1, **on)])
    (means,) = ask(tmp_path, "FROM shift_means")
    assert (means["seeds"], means["accuracy_source_mean"]) == (1, None)
    assert means["accuracy_target_mean"] == pytest.approx(0.4)


def test_a_target_whose_classes_changed_names_has_the_run_of_the_last_request_alone(
    tmp_path: Path, result_of: ResultOf
) -> None:
    on: dict[str, Any] = {"seed": 1, "tested_on": EvaluatedOn(dataset="near")}
    day = timedelta(days=1)
    before = result_of(1, 0.9, protocol="domain-shift", **on)
    after = result_of(2, 0.4, protocol="cross-dataset", **on)
    later = replace(after, run=replace(after.run, started_at=before.run.started_at + day))
    RunStore(tmp_path).record([before, later])
    rows = ask(tmp_path, "SELECT protocol, accuracy_target FROM shift")
    assert rows == [{"protocol": "cross-dataset", "accuracy_target": 0.4}]


CHOICES = ("own", "published:aaaaaaaaaa", "published:bbbbbbbbbb", "budget:8")


@pytest.fixture(name="of_choices")
def _of_choices(tmp_path: Path, result_of: ResultOf, predictions_of: Callable[..., Any]) -> Path:
    """One method with one fingerprint of settings on four choices of images."""
    RunStore(tmp_path).record(
        [
            replace(
                result_of(
                    10 * place + seed,
                    (place + 1) / 10,
                    seed=seed,
                    image_choice=choice,
                    method=method,
                    split_fingerprint=f"{choice}-{seed}",
                ),
                predictions=predictions_of(0, int(method == "gda")),
            )
            for place, (choice, method) in enumerate(
                (choice, method) for choice in CHOICES for method in ("gda", "lp++")
            )
            for seed in (1, 2)
        ]
    )
    return tmp_path


@pytest.mark.parametrize("view", ["leaderboard", "confusion", "per_class", "disagreements"])
def test_runs_of_different_image_choices_are_never_averaged(of_choices: Path, view: str) -> None:
    rows = ask(of_choices, f"SELECT DISTINCT method, image_choice FROM {view}")
    assert {(row["method"], row["image_choice"]) for row in rows} == {
        (method, choice) for choice in CHOICES for method in ("gda", "lp++")
    }
    if view == "leaderboard":
        counts = ask(of_choices, "SELECT DISTINCT seeds FROM leaderboard")
        assert counts == [{"seeds": 2}]


def test_a_comparison_names_one_choice_of_images(of_choices: Path) -> None:
    def compare(*methods: str) -> Any:
        return compare_methods(of_choices, (methods[0], methods[1]), dataset="digits", shots=4)

    with pytest.raises(RunStoreError, match="different settings or choices of images") as raised:
        compare("gda", "lp++")
    assert "'gda (budget of 8 images)'" in str(raised.value)
    named = compare("gda (publication bbbbbbbb)", "lp++@settings/published:bbbb")
    assert {run.image_choice for each in (named.a, named.b) for run in each.runs} == {CHOICES[2]}
    assert named.seeds == (1, 2)
    with pytest.raises(RunStoreError, match="learned from different images"):
        compare("gda@settings/published:aaaa", "lp++@settings/published:bbbb")
    with pytest.raises(UnknownNameError, match=r"gda \(budget of 8 images\)"):
        compare("gda@settings/budget:9", "lp++@settings/own")


def test_series_of_a_report_are_called_by_their_images(of_choices: Path) -> None:
    with connect(of_choices) as database:
        (results,) = read_results(database)
    names = [each.name for each in results.series if each.method == "gda"]
    assert names == [
        "gda (budget of 8 images)",
        "gda (own splits)",
        "gda (published splits, publication aaaaaaaa)",
        "gda (published splits, publication bbbbbbbb)",
    ]
