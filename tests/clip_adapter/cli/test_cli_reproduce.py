"""The reproduce command: who is training, and what came of it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.pipeline import ablations
from clip_adapter.pipeline.ablations import Variant
from clip_adapter.report import read_studies
from clip_adapter.runs import BASE_TO_NEW, OPEN_VOCABULARY, query

Command = Callable[..., Any]


@pytest.fixture(name="reproduce")
def _reproduce(command: Command, photos: Path, root: Path, tiny_model: str) -> Command:
    """Run a quick `clip-adapter reproduce` of an ablation with two variants."""
    quick = ("--shots", "1,2", "--seeds", "1,2", "--recipe", "fast")
    study = ("output-activation", f"imagefolder:{photos}", "--model", tiny_model)
    return partial(command, "reproduce", *study, *quick, "--root", root)


def test_every_line_of_progress_names_its_variant(reproduce: Command) -> None:
    lines = [line for line in reproduce().err.splitlines() if line.startswith("training")]
    assert [line.partition(":")[0] for line in lines] == [
        "training clip-adapter, output_activation=true",
        "training clip-adapter, output_activation=false",
    ]


def test_the_outcome_stands_at_the_end_with_the_way_to_the_figure(
    reproduce: Command, root: Path
) -> None:
    outcome = reproduce()
    assert outcome.code == 0
    assert "8 runs trained, 0 recorded already" in outcome.out
    assert "fast recipe: test accuracy, %" in outcome.out
    rows = [line for line in outcome.out.splitlines() if line.startswith(("one", "two"))]
    assert [(row.split()[:2], row.count("±")) for row in rows] == [
        (["one", "ReLU"], 2),
        (["two", "ReLUs"], 2),
    ]
    assert outcome.out.splitlines()[-1].startswith("To draw the figure: clip-adapter report ")
    assert f"--root {root} " in outcome.out


def test_the_outcome_in_json_is_what_a_report_draws(reproduce: Command, root: Path) -> None:
    told = json.loads(reproduce("--json").out)
    (study,) = read_studies(root, dataset=told["dataset"], encoder=told["encoder"])
    assert told["outcome"] == [
        {
            "variant": variant.name,
            "shots": shots,
            "accuracy_mean": mean.value,
            "accuracy_ci95": mean.half_width,
        }
        for variant in study.variants
        for shots, mean in variant.means.items()
    ]


def test_what_was_on_record_is_in_the_outcome_as_well(reproduce: Command) -> None:
    first, again = reproduce(), reproduce()
    assert "0 runs trained, 8 recorded already" in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]


@pytest.fixture(name="open_vocabulary")
def _open_vocabulary(
    command: Command,
    photos: Path,
    root: Path,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """Run a quick `clip-adapter reproduce open-vocabulary` of two methods and three classes."""
    methods = ("zero-shot", "tip-adapter")
    variants = {OPEN_VOCABULARY: tuple(Variant(label=name, method=name) for name in methods)}
    monkeypatch.setattr(ablations, "STUDIES", variants)
    study = ("open-vocabulary", f"imagefolder:{photos}", "--model", tiny_model, "--root", root)
    return partial(command, "reproduce", *study, "--shots", "2", "--seeds", "1,2")


def test_selection_ends_with_what_choosing_on_test_adds(
    command: Command, photos: Path, root: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablations, "is_usable", lambda name, *_, **__: name == "gda")
    place = (f"imagefolder:{photos}", "--model", tiny_model, "--root", root)
    asked = partial(command, "reproduce", "selection", *place, "--shots", "2", "--seeds", "1,2")
    lines = asked().out.splitlines()
    (row,) = [line for line in lines if line.startswith("gda")]
    assert row.count("+") == row.count("±") - 1 == 4
    told = json.loads(asked("--json").out)
    assert (told["runs_trained"], told["runs_on_record"]) == (0, 10)
    chosen = {each["chosen_on"]: each["oracle_adds_mean"] for each in told["outcome"]}
    assert len(chosen) == 5
    assert chosen.pop("test (oracle)") is None
    assert min(chosen.values()) >= 0


def test_open_vocabulary_ends_with_what_new_classes_cost_and_gain(open_vocabulary: Command) -> None:
    first, again = open_vocabulary(), open_vocabulary()
    assert "3 runs trained, 0 recorded already" in first.out
    assert "0 runs trained, 3 recorded already" in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]
    lines = first.out.splitlines()
    (heading,) = [line for line in lines if line.startswith("method")]
    assert heading.split() == [
        "method",
        "shots",
        "base",
        "alone",
        "base",
        "change",
        "new",
        "harmonic",
    ]
    rows = [line for line in lines if line.startswith(("zero-shot", "tip-adapter"))]
    # A method that does not learn has a single run, and no interval.
    assert [(row.split()[0], row.count("±")) for row in rows] == [
        ("zero-shot", 0),
        ("tip-adapter", 5),
    ]


def test_open_vocabulary_in_json_agrees_with_sql(open_vocabulary: Command, root: Path) -> None:
    told = json.loads(open_vocabulary("--json").out)["outcome"]
    assert [(row["variant"], row["shots"]) for row in told] == [
        ("zero-shot", 0),
        ("tip-adapter", 2),
    ]
    sql = (
        "SELECT avg(value) AS mean FROM study_runs JOIN metrics USING (run_id) "
        "WHERE method = 'tip-adapter' AND split = '{}' AND name = '{}'"
    )
    for name, (split, metric) in BASE_TO_NEW.items():
        if name != "new_accuracy":
            mean = query(root, sql.format(split, metric)).to_pylist()[0]["mean"]
            assert told[1][f"{name}_mean"] == pytest.approx(mean)
