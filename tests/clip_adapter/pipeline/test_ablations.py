"""Studies of all methods: who chooses on what, and what never leaves the study."""

import json
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.errors import ClipAdapterError, ParameterError
from clip_adapter.pipeline import ablations
from clip_adapter.pipeline.ablations import Reproduction, reproduce, variants_of
from clip_adapter.pipeline.candidate import choose_candidate
from clip_adapter.pipeline.load import load
from clip_adapter.pipeline.plan import SplitSpec, plan_runs
from clip_adapter.report import read_selection_costs, read_studies
from clip_adapter.runs import RunStoreError, query

FEW = ("zero-shot", "tip-adapter", "gda")
CHOSEN = """
SELECT method, shots, selected_on, selection, n_validation,
    hyperparameters['selection_images'] AS images, hyperparameters['selection'] AS asked
FROM runs WHERE study = 'selection' ORDER BY ALL
"""


@pytest.fixture(name="study")
def _study(photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reproduce a study with three methods on the ninety photos."""
    monkeypatch.setattr(ablations, "is_usable", lambda name, *_, **__: name in FEW)
    asked: dict[str, Any] = {"shots": [1, 2], "seeds": [1, 2], "root": str(root)}

    def run(study: str, **changes: Any) -> Reproduction:
        return reproduce(study, f"imagefolder:{photos}", tiny_model, **(asked | changes))

    return run


def test_every_method_with_settings_chooses_on_five_kinds_of_images() -> None:
    variants = variants_of("selection")
    methods = {variant.method for variant in variants}
    assert {"clip-adapter", "gda", "task-res"} <= methods
    assert "zero-shot" not in methods
    assert len(variants) == 5 * len(methods)
    oracles = {each.label for each in variants if each.images == "test"}
    assert oracles == {f"{method}, test (oracle)" for method in methods}


def test_the_study_of_selection_records_what_chose_and_is_resumed(study: Any, root: Path) -> None:
    done, again = study("selection"), study("selection")
    # Of each method two seeds; at one shot none can be held out.
    assert (done.n_trained, again.n_trained, again.n_reused) == (2 * (10 + 8), 0, 2 * (10 + 8))
    found = {
        (row["images"] and json.loads(row["images"]), json.loads(row["asked"]), row["selected_on"])
        for row in query(root, CHOSEN).to_pylist()
        if row["shots"] == 2
    }
    assert found == {
        ("test", "validation", "test (oracle)"),
        ("whole", "validation", "validation"),
        (None, "validation", "validation"),
        (None, "held-out-shots", "held-out shots"),
        (None, "none", "nothing"),
    }
    counts = "SELECT DISTINCT n_validation AS n FROM runs WHERE hyperparameters['selection_images'] = '\"whole\"'"
    (whole,) = query(root, counts).to_pylist()
    in_val = "SELECT count(*) AS n FROM images WHERE split = 'val'"
    assert whole["n"] == query(root, in_val).to_pylist()[0]["n"]


def test_an_oracle_is_on_no_leaderboard_and_no_candidate(study: Any, root: Path) -> None:
    done = study("selection")
    assert query(root, "FROM leaderboard").num_rows == 0
    assert query(root, "FROM current_runs").num_rows == 0
    encoded = done.encoded
    index = encoded.dataset.index
    variant = next(each for each in variants_of("selection") if each.images == "test")
    split = SplitSpec(shots=[2], seeds=[1]).splits(index)
    specs = plan_runs(
        encoded,
        [ablations.create_method(variant.method, {**variant.settings})],
        ablations._choosing_on("test", split, index),
        study="selection",
        selection_images="test",
    )
    assert specs[0].fingerprint in {each for runs in done.variants for each in runs.fingerprints}
    with pytest.raises(RunStoreError, match="none of the 1 runs"):
        choose_candidate(root, specs, dataset=encoded.dataset.name)
    oracle = "SELECT run_id FROM runs WHERE selected_on = 'test (oracle)' LIMIT 1"
    (row,) = query(root, oracle).to_pylist()
    with pytest.raises(RunStoreError, match="chose its settings on the test images"):
        load(f"run:{row['run_id']}", root=root)
    assert query(root, "FROM promotions").num_rows == 0


def test_what_choosing_on_test_adds_is_measured_seed_by_seed(study: Any, root: Path) -> None:
    done = study("selection")
    dataset, encoder = done.encoded.dataset.name, done.encoded.encoder
    found = read_selection_costs(root, dataset=dataset, encoder=encoder)
    assert [(each.method, each.shots) for each in found] == [
        (method, shots) for method in ("gda", "tip-adapter") for shots in (1, 2)
    ]
    for each in found:
        assert each.seeds == (1, 2)
        assert len(each.added) == (4 if each.shots > 1 else 3)
        for choice, added in each.added.items():
            # The oracle's grid is that of every other choice, so that nothing can be better on test.
            assert added.low <= added.value
            assert added.value >= 0
            difference = each.accuracy["test (oracle)"].value - each.accuracy[choice].value
            assert added.value == pytest.approx(difference)


def test_rivals_are_all_methods_under_one_selection(study: Any, root: Path) -> None:
    validated, alone = study("rivals"), study("rivals", validation=False)
    assert validated.names == FEW
    assert (validated.n_trained, alone.n_trained) == (1 + 4 + 4, 4 + 4)  # zero-shot learns nothing
    dataset, encoder = validated.encoded.dataset.name, validated.encoded.encoder
    (found,) = read_studies(root, dataset=dataset, encoder=encoder)
    assert [variant.name for variant in found.variants] == [
        "zero-shot",
        "gda",
        "gda, held-out-shots",
        "tip-adapter",
        "tip-adapter, held-out-shots",
    ]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("selection", {"selection": "none"}, "--selection none can change nothing"),
        ("selection", {"validation": False}, "and --no-validation sets no image aside"),
        ("ratio-mode", {"validation": False}, "and --no-validation sets no image aside"),
        ("published", {}, "those of eurosat with CLIP's RN50, found imagefolder"),
    ],
)
def test_what_a_study_cannot_be_asked_for_is_said(
    study: Any, name: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ParameterError, match=words):
        study(name, **changes)


def test_without_eurosat_the_paper_is_not_compared_with(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ClipAdapterError, match="EuroSAT was not found"):
        reproduce("published", "eurosat", root=root, data=tmp_path)
