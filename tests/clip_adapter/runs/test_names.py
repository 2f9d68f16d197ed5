"""Names tell the rows of a table apart in words, and `compare` takes them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clip_adapter.runs import (
    Configuration,
    RunRecord,
    RunResult,
    RunStore,
    connect,
    find_configurations,
    legend,
    name_configurations,
    name_encoders,
    name_runs,
    with_names,
)
from clip_adapter.runs.run_settings import Candidate

ResultOf = Callable[..., RunResult]
SIX = [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
PUBLISHED = "published:0123456789"


@pytest.fixture
def run(result_of: ResultOf) -> Callable[..., RunRecord]:
    """A run with hyper-parameters and a fingerprint of settings that follows from its fields."""

    def make(hyperparameters: dict[str, Any] | None = None, **fields: Any) -> RunRecord:
        told = {key: value for key, value in fields.items() if key not in {"shots", "seed"}}
        described = {
            "hyperparameters": hyperparameters or {},
            "settings_fingerprint": f"{hash(repr((hyperparameters, told))) & 0xFFFFFFFF:08x}",
        }
        return result_of(1, **{**described, **fields}).run

    return make


MakeRun = Callable[..., RunRecord]


def names(*runs: RunRecord) -> list[str]:
    return list(name_configurations(runs).values())


def test_a_method_with_one_configuration_is_called_by_its_name(run: MakeRun) -> None:
    assert names(run({"residual_ratios": SIX}), run({"alphas": [1.0]}, method="gda")) == [
        "clip-adapter",
        "gda",
    ]


def test_all_settings_that_were_asked_for_and_differ_are_told(run: MakeRun) -> None:
    fixed = {"residual_ratios": [0.2], "recipe": "fast", "views": 0, "residual_ratio": 0.2}
    searched = {"residual_ratios": SIX, "recipe": "paper", "views": 0, "residual_ratio": 0.6}
    two = {"residual_ratios": [0.2, 0.6], "recipe": "paper", "views": 0, "residual_ratio": 0.6}
    assert names(run(fixed), run(searched), run(two)) == [
        "clip-adapter (ratio 0.2, recipe fast)",
        "clip-adapter (6 ratios 0.1 to 1, recipe paper)",
        "clip-adapter (ratios 0.2/0.6, recipe paper)",
    ]


def test_what_follows_from_a_recipe_is_told_only_where_nothing_else_differs(run: MakeRun) -> None:
    def of(recipe: str, epochs: int) -> RunRecord:
        return run({"recipe": recipe, "optimizer": "sgd", "epochs": epochs, "learning_rate": 0.1})

    assert names(of("fast", 14), of("paper", 50)) == [
        "clip-adapter (recipe fast)",
        "clip-adapter (recipe paper)",
    ]
    assert names(of("fast", 14), of("paper", 50), of("paper", 20)) == [
        "clip-adapter (recipe fast)",
        "clip-adapter (recipe paper, epochs 50)",
        "clip-adapter (recipe paper, epochs 20)",
    ]


def test_what_was_chosen_from_candidates_tells_nothing(run: MakeRun) -> None:
    tried = (Candidate(settings={"C": 1.0}, validation_accuracy=0.5, validation_nll=1.0),)
    found = names(run({"C": 1.0}, tried=tried), run({"C": 2.0}, tried=tried))
    assert all(name.startswith("clip-adapter (settings ") for name in found)
    assert len(set(found)) == 2
    assert legend(found) == [
        "settings: first digits of `settings_fingerprint` in SQL; the recorded settings are equal"
    ]


def test_values_of_one_configuration_at_different_shots_are_one_range(run: MakeRun) -> None:
    few = run({"epochs": 50}, shots=1, settings_fingerprint="a")
    many = run({"epochs": 200}, shots=16, settings_fingerprint="a")
    assert names(few, many, run({"epochs": 20})) == [
        "clip-adapter (epochs 50 to 200)",
        "clip-adapter (epochs 20)",
    ]


def test_a_setting_that_only_one_has_is_unset_in_the_other(run: MakeRun) -> None:
    assert names(run({"context": "a photo"}), run({"views": 2})) == [
        "clip-adapter (context a photo, views unset)",
        "clip-adapter (context unset, views 2)",
    ]


def test_images_that_are_not_of_our_sampler_are_always_told(run: MakeRun) -> None:
    own, published = run(), run(image_choice=PUBLISHED)
    other, budget = run(image_choice="published:abcdef0123"), run(image_choice="budget:50")
    assert names(published) == ["clip-adapter (published splits)"]
    assert names(own, published, budget) == [
        "clip-adapter (own splits)",
        "clip-adapter (published splits)",
        "clip-adapter (budget of 50 images)",
    ]
    found = names(published, other)
    assert found == [
        "clip-adapter (published splits, publication 01234567)",
        "clip-adapter (published splits, publication abcdef01)",
    ]
    assert legend(found) == ["publication: first digits of `image_choice` in SQL"]


def test_prompts_are_told_where_settings_and_images_are_equal(run: MakeRun) -> None:
    pet = "a photo of a {}, a type of pet."
    assert names(run(templates=("{}",)), run(templates=(pet,)), run(templates=("{}", pet))) == [
        'clip-adapter (prompt "{}")',
        f'clip-adapter (prompt "{pet}")',
        "clip-adapter (2 prompts)",
    ]
    assert names(run(templates=("{}", pet)), run(templates=(pet, "{}"))) == [
        'clip-adapter (as "{}")',
        f'clip-adapter (as "{pet}")',
    ]


def test_validation_images_are_told_where_nothing_else_differs(run: MakeRun) -> None:
    assert names(run(n_validation=0), run(n_validation=40)) == [
        "clip-adapter (no validation images)",
        "clip-adapter (validation images set aside)",
    ]


def test_a_name_is_found_by_any_of_its_words_in_any_order(run: MakeRun) -> None:
    pet = "a photo of a {}, a type of pet."
    runs = [
        run({"residual_ratios": ratios, "selection": "held-out-shots"}, templates=(prompt,), **more)
        for ratios in ([0.2], SIX)
        for prompt in (pet, "{}")
        for more in ({}, {"image_choice": PUBLISHED})
    ]
    (found,) = find_configurations(
        f'clip-adapter (published splits, prompt "{pet}", ratio 0.2)', runs
    )
    assert found == Configuration.of(runs[1])
    assert len(find_configurations("clip-adapter (selection held-out shots)", runs)) == 8
    assert len(find_configurations("clip-adapter", runs)) == 8
    for unknown in (
        "clip-adapter (ratio 0.3)",
        "clip-adapter ()",
        "clip-adapter (ratio 0.2",
        "clip-adapter, ratio 0.2",
        "clip",
        "gda (ratio 0.2)",
    ):
        assert not find_configurations(unknown, runs), unknown


def test_a_setting_may_be_called_as_what_is_said_beside_settings(run: MakeRun) -> None:
    runs = [run({"prompts": which}, method="zero-shot") for which in ("single", "ensemble")]
    assert names(*runs) == ["zero-shot (prompts single)", "zero-shot (prompts ensemble)"]


def test_a_prompt_with_an_at_sign_is_no_fingerprint(run: MakeRun) -> None:
    runs = [run(templates=("{} @ home, or/and not",)), run(templates=("{}",))]
    for each, name in zip(runs, names(*runs), strict=True):
        assert find_configurations(name, runs) == [Configuration.of(each)]
    old = f"clip-adapter@{runs[0].settings_fingerprint[:6]}/own"
    assert find_configurations(old, runs) == [Configuration.of(runs[0])]


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "recipe": st.sampled_from(["fast", "paper"]),
        "residual_ratios": st.lists(st.sampled_from(SIX), min_size=1, max_size=5, unique=True),
        "epochs": st.integers(1, 3),
        "learning_rate": st.sampled_from([0.1, 0.1000001]),
        "context": st.sampled_from(["a, b", "a", "a (b)", ""]),
    },
)
RUNS = st.lists(
    st.tuples(
        st.sampled_from(["gda", "gda (oracle)"]),
        SETTINGS,
        st.sampled_from(["own", PUBLISHED, "published:abcdef0123", "budget:8"]),
        st.sampled_from([("{}",), ("{}", "a {}."), ("a {}.", "{}"), ("{}, b",)]),
        st.sampled_from([0, 40]),
    ),
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=RUNS)
def test_no_two_configurations_share_a_name_and_each_is_found_by_its_own(
    run: MakeRun, drawn: list[Any]
) -> None:
    runs = [
        run(
            hyperparameters,
            method=method,
            image_choice=choice,
            templates=templates,
            n_validation=n_validation,
            settings_fingerprint=f"{number:08x}",
        )
        for number, (method, hyperparameters, choice, templates, n_validation) in enumerate(drawn)
    ]
    found = name_configurations(runs)
    assert len(set(found.values())) == len(found) == len(runs)
    for configuration, name in found.items():
        assert find_configurations(name, runs) == [configuration]


def test_rows_of_views_are_named_by_dataset_and_encoder(
    tmp_path: Path, result_of: ResultOf
) -> None:
    def put(number: int, ratios: list[float], **fields: Any) -> RunResult:
        given: dict[str, Any] = {"settings_fingerprint": f"s{number}", **fields}
        return result_of(number, hyperparameters={"residual_ratios": ratios}, **given)

    RunStore(tmp_path).record(
        [put(1, [0.2]), put(2, [0.6]), put(3, [0.6], dataset="other"), put(4, [0.6], encoder="e")]
    )
    with connect(tmp_path) as database:
        rows = with_names(database, database.query("FROM leaderboard").to_pylist())
        found = {(row["dataset"], row["encoder"], row["name"]) for row in rows}
        one_run = name_runs(database, [f"{2:032x}", "f" * 32])
    assert len(found) == 4
    assert {name for _, _, name in found} == {
        "clip-adapter (ratio 0.2)",
        "clip-adapter (ratio 0.6)",
        "clip-adapter",
    }
    assert one_run == {f"{2:032x}": "clip-adapter"}


def test_encoders_of_one_name_are_told_apart(tmp_path: Path, result_of: ResultOf) -> None:
    given = [
        ("a" * 16, "glyphs", "fp32"),
        ("b" * 16, "ViT", "fp32"),
        ("c" * 16, "ViT", "fp16"),
        ("d" * 16, "RN50", "fp32"),
        ("e" * 16, "RN50", "fp32"),
    ]
    RunStore(tmp_path).record(
        [
            result_of(number, encoder=encoder, model=model, precision=precision)
            for number, (encoder, model, precision) in enumerate(given)
        ]
    )
    with connect(tmp_path) as database:
        found = name_encoders(database)
    assert [found[encoder] for encoder, _, _ in given] == [
        "glyphs",
        "ViT (fp32)",
        "ViT (fp16)",
        "RN50 (encoder dddddddd)",
        "RN50 (encoder eeeeeeee)",
    ]


def test_a_run_of_an_earlier_version_is_named_by_its_typed_settings(run: MakeRun) -> None:
    old, new = (
        replace(run(), hyperparameters=None, settings=replace(run().settings, reduction=reduction))
        for reduction in (4, 8)
    )
    found = names(old, replace(new, settings_fingerprint="other"))
    assert found == ["clip-adapter (reduction 4)", "clip-adapter (reduction 8)"]
