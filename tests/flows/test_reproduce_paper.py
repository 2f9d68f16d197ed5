"""An ablation varies one thing, and leaves the leaderboard alone."""

from pathlib import Path
from typing import Any

import pytest

from clip_adapter.pipeline import reproduce_all
from clip_adapter.pipeline.ablations import STUDIES, STUDIES_OF_METHODS, variants_of
from clip_adapter.pipeline.datasets import KnownDataset
from clip_adapter.pipeline.requests import STUDY_NAMES, StudyName
from clip_adapter.runs import query
from flows.reproduce_paper import reproduce_paper

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_every_study_can_be_asked_for() -> None:
    assert set(STUDY_NAMES) == {*STUDIES, *STUDIES_OF_METHODS}


def test_a_study_records_a_run_for_every_variant_shot_and_seed(
    photos: Path, root: Path, tiny_model: str
) -> None:
    asked: dict[str, Any] = {"shots": [1, 2], "seeds": [1], "recipe": "fast", "root": str(root)}
    first: Any = reproduce_paper("ratio-mode", f"imagefolder:{photos}", tiny_model, **asked)
    again: Any = reproduce_paper("ratio-mode", f"imagefolder:{photos}", tiny_model, **asked)
    assert (first.n_trained, first.n_reused) == (9, 0)  # no shot can be held out of one
    assert (again.n_trained, again.n_reused) == (0, 9)
    modes = "SELECT ratio_mode, count(*) AS n FROM runs WHERE study = 'ratio-mode' GROUP BY ALL"
    assert {row["ratio_mode"]: row["n"] for row in query(root, modes).to_pylist()} == {
        "constant": 5,  # of these two with a single ratio, and one chosen on held-out shots
        "learned": 2,
        "hypernetwork": 2,
    }
    assert query(root, "SELECT * FROM leaderboard").num_rows == 0


@pytest.mark.parametrize("study", STUDY_NAMES)
def test_the_variants_of_a_study_are_called_apart(study: StudyName) -> None:
    names = [variant.name for variant in variants_of(study)]
    assert len(set(names)) == len(names)


def test_a_setting_that_is_varied_is_written_as_set_takes_it() -> None:
    names = [variant.name for variant in STUDIES["ratio-mode"]]
    assert names[:2] == ["residual_ratios=[0.2]", "selection=validation"]
    assert [variant.name for variant in STUDIES["output-activation"]] == [
        "output_activation=true",
        "output_activation=false",
    ]


def test_views_are_encoded_for_the_images_that_train(
    photos: Path, root: Path, tiny_model: str
) -> None:
    done: Any = reproduce_paper(
        "views",
        f"imagefolder:{photos}",
        tiny_model,
        shots=[1],
        seeds=[1],
        recipe="fast",
        root=str(root),
    )
    assert done.encoded.augmented_views == tuple(range(10_001, 10_017))
    views = "SELECT views, count(*) AS n FROM runs GROUP BY ALL ORDER BY views"
    assert [row["views"] for row in query(root, views).to_pylist()] == [0, 1, 4, 16]


def test_prompts_are_varied_and_recorded(photos: Path, root: Path, tiny_model: str) -> None:
    reproduce_paper(
        "prompt-style",
        f"imagefolder:{photos}",
        tiny_model,
        shots=[1],
        seeds=[1],
        recipe="fast",
        root=str(root),
    )
    styles = "SELECT len(templates) AS n FROM runs ORDER BY n"
    assert [row["n"] for row in query(root, styles).to_pylist()] == [1, 1, 7]


def test_a_study_on_all_datasets_is_one_flow_run(
    photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownDataset(name=f"imagefolder:{photos}", what="x", is_present=True, next_step="")
    monkeypatch.setattr(reproduce_all, "known_datasets", lambda _: [known])
    asked: dict[str, Any] = {"shots": [1], "seeds": [1], "recipe": "fast", "root": str(root)}
    done: Any = reproduce_paper("output-activation", "all", tiny_model, **asked)
    assert (done.n_trained, [each.study for each in done.reproductions]) == (
        2,
        ["output-activation"],
    )
