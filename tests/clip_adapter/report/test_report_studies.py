"""Studies from their runs: what was varied is found, named and ordered."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.report.results import read_results
from clip_adapter.report.studies import Study, read_studies, studies_of
from clip_adapter.runs import RunSettings, connect

LATER = datetime(2026, 11, 24, tzinfo=UTC)
PutRuns = Callable[..., None]
Ask = Callable[[], list[Study]]


@pytest.fixture(name="studies")
def _studies(root: Path) -> Ask:
    def ask() -> list[Study]:
        with connect(root) as database:
            (results,) = read_results(database)
        return studies_of(results.study_runs)

    return ask


def put_variants(put_runs: PutRuns, study: str, *variants: dict[str, Any]) -> None:
    """A variant each, right on 100, 101, ... of 200 images."""
    for place, variant in enumerate(variants):
        fields = dict(variant)
        settings = RunSettings(recipe=fields.pop("recipe", "paper"), **fields.pop("settings", {}))
        put_runs(
            [100 + place] * 3,
            study=study,
            settings=settings,
            settings_fingerprint=f"{study}-{place}-{settings.recipe}",
            **fields,
        )


@pytest.mark.parametrize(
    ("study", "settings", "names"),
    [
        ("bottleneck-width", {"reduction": [32, 1, 4]}, ["1", "4", "32"]),
        ("residual-ratio", {"residual_ratio": [1.0, 0.0, 0.3]}, ["0", "0.3", "1"]),
        ("branch", {"branch": ["both", "text", "visual"]}, ["visual", "text", "both"]),
        ("views", {"views": [16, 0, 1, 4]}, ["0", "1", "4", "16"]),
        ("output-activation", {"output_activation": [True, False]}, ["one ReLU", "two ReLUs"]),
    ],
)
def test_a_study_of_the_paper_is_ordered_by_what_it_varies(
    put_runs: PutRuns, studies: Ask, study: str, settings: dict[str, list[Any]], names: list[str]
) -> None:
    ((name, values),) = settings.items()
    put_variants(put_runs, study, *[{"settings": {name: value}} for value in values])
    (found,) = studies()
    assert (found.name, found.seeds) == (study, (1, 2, 3))
    assert [variant.name for variant in found.variants] == names


def test_prompts_are_called_by_the_name_of_their_style(put_runs: PutRuns, studies: Ask) -> None:
    put_variants(
        put_runs,
        "prompt-style",
        {"templates": ("a picture of the digit {}.",)},
        {"templates": ("a photo of a {}.",)},
        {"templates": ("{}",)},
        {"templates": ("one {}", "two {}")},
    )
    names = [variant.name for variant in studies()[0].variants]
    assert names == ["class name", "photo", "2 prompts", "a picture of the digit {}."]


def test_a_grid_of_one_ratio_is_called_fixed(put_runs: PutRuns, studies: Ask) -> None:
    modes = ["validation", "learned", "hypernetwork", "held-out-shots"]
    chosen = ["validation", "training", "training", "held-out shots"]
    put_variants(
        put_runs,
        "ratio-mode",
        *[
            {"settings": {"ratio_mode": mode}, "selected_on": by}
            for mode, by in zip(modes, chosen, strict=True)
        ],
        {"settings": {"ratio_mode": "validation"}, "selected_on": "nothing"},
    )
    assert [variant.name for variant in studies()[0].variants] == ["fixed", *modes]


def test_constant_ratios_are_called_by_what_they_were_chosen_on(
    put_runs: PutRuns, studies: Ask
) -> None:
    """As earlier versions recorded them, and as they are recorded now: one value of the study."""
    put_variants(
        put_runs,
        "ratio-mode",
        {"settings": {"ratio_mode": "held-out-shots"}, "selected_on": "held-out shots"},
        *[
            {
                "settings": {"ratio_mode": mode},
                "selected_on": by,
                "hyperparameters": {"residual_ratios": ratios},
            }
            for mode, by, ratios in [
                ("constant", "validation", [0.2]),  # which chose how long to train
                ("constant", "validation", [0.1, 0.2]),
                ("constant", "held-out shots", [0.1, 0.2]),
                ("constant", "nothing", [0.1, 0.2]),
                ("learned", "nothing", [0.1, 0.2]),
            ]
        ],
    )
    names = [variant.name for variant in studies()[0].variants]
    assert names == ["fixed", "validation", "learned", "held-out-shots", "none"]


def test_the_paper_s_figures_are_beside_ours(put_runs: PutRuns, studies: Ask) -> None:
    put_variants(put_runs, "published", {}, {"selected_on": "test (oracle)"})
    (found,) = studies()
    assert [variant.name for variant in found.variants] == [
        "test (oracle)",
        "validation",
        "the paper",
    ]
    assert {shots: mean.value for shots, mean in found.variants[-1].means.items()} == {4: 0.7338}


def test_rivals_without_a_recipe_are_beside_those_of_each(put_runs: PutRuns, studies: Ask) -> None:
    for recipe in ("paper", "fast"):
        put_variants(put_runs, "rivals", {"method": "clip-adapter", "recipe": recipe})
    put_runs([90], study="rivals", method="gda", settings=RunSettings())
    asked = {"hyperparameters": {"selection": "validation"}, "settings": RunSettings()}
    put_runs([80], study="rivals", method="gda", n_validation=0, settings_fingerprint="x", **asked)
    found = {study.recipe: [variant.name for variant in study.variants] for study in studies()}
    names = ["clip-adapter", "gda", "gda, held-out-shots"]
    assert found == {"fast": names, "paper": names}


def test_numbers_stand_where_they_are_and_names_in_a_row(put_runs: PutRuns, studies: Ask) -> None:
    put_variants(
        put_runs, "residual-ratio", *[{"settings": {"residual_ratio": r}} for r in (0.5, 0.1)]
    )
    put_variants(put_runs, "branch", *[{"settings": {"branch": b}} for b in ("text", "visual")])
    branch, ratio = studies()
    assert (branch.scale, [variant.position for variant in branch.variants]) == ("names", [0, 1])
    assert (ratio.scale, [variant.position for variant in ratio.variants]) == (
        "numbers",
        [0.1, 0.5],
    )


def test_recipes_are_told_apart(put_runs: PutRuns, studies: Ask) -> None:
    for recipe in ("paper", "fast"):
        put_variants(put_runs, "branch", {"settings": {"branch": "text"}, "recipe": recipe})
    assert [(study.name, study.recipe) for study in studies()] == [
        ("branch", "fast"),
        ("branch", "paper"),
    ]


def test_a_variant_that_was_made_again_counts_once(put_runs: PutRuns, studies: Ask) -> None:
    """Other code may fingerprint the same setting in another way."""
    common = {"study": "branch", "settings": RunSettings(branch="text", recipe="paper")}
    put_runs([100, 102, 104], settings_fingerprint="old", **common)
    put_runs([180], settings_fingerprint="new", started_at=LATER, **common)
    (text,) = studies()[0].variants
    assert text.means[4].value == pytest.approx((180 + 102 + 104) / 3 / 200)


def test_the_studies_of_one_dataset_and_encoder_are_those_of_its_report(
    put_runs: PutRuns, studies: Ask, root: Path
) -> None:
    put_variants(put_runs, "branch", *[{"settings": {"branch": b}} for b in ("text", "visual")])
    asked = {"dataset": "digits", "encoder": "0123456789abcdef"}
    assert read_studies(root, **asked) == studies()
    assert read_studies(root, **{**asked, "dataset": "eurosat"}) == []


def test_any_other_study_is_told_apart_by_settings(put_runs: PutRuns, studies: Ask) -> None:
    put_variants(put_runs, "mine", {}, {})
    assert [variant.name for variant in studies()[0].variants] == [
        "clip-adapter (settings mine-0-p)",
        "clip-adapter (settings mine-1-p)",
    ]
