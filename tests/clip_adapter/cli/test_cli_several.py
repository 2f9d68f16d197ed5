"""Several datasets and several models in one call, and the encoder that a result is of."""

import json
from collections.abc import Callable
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from clip_adapter.cli.requests import option_names
from clip_adapter.cli.several import show_tables
from clip_adapter.errors import ClipAdapterError
from clip_adapter.pipeline.in_turn import DatasetsTable
from clip_adapter.pipeline.requests import ExtractRequest, TrainRequest
from clip_adapter.runs import query

Command = Callable[..., Any]
PutPhotos = Callable[..., Path]
FEW = ("--shots", "1", "--seeds", "1", "--methods", "zero-shot,gda")


@pytest.fixture(name="folders")
def _folders(photos: Path, tmp_path: Path, put_photos: PutPhotos) -> list[str]:
    """Two datasets: photos of three classes and of two others."""
    for class_name, colour in (("cherry", "red"), ("leaf", "green")):
        put_photos(tmp_path / "plants", class_name, range(100, 130), colour=colour)
    return [f"imagefolder:{photos}", f"imagefolder:{tmp_path / 'plants'}"]


@pytest.fixture(name="models")
def _models(tiny_model: str, other_tiny_model: str) -> list[str]:
    return [tiny_model, other_tiny_model]


@pytest.fixture(name="both")
def _both(command: Command, folders: list[str], models: list[str], root: Path) -> Command:
    """Run a command on both datasets with both models."""
    return partial(run_pairs, command, folders, models, root)


def run_pairs(
    command: Command,
    folders: list[str],
    models: list[str],
    root: Path,
    name: str,
    *options: object,
) -> Any:
    named = [part for model in models for part in ("--model", model)]
    return command(name, *folders, *named, "--root", root, *options)


def plants_in(root: Path) -> tuple[str, list[str]]:
    """The name of the second dataset in the store, and the encoders of its runs."""
    question = "SELECT DISTINCT dataset, encoder FROM runs WHERE dataset = 'plants'"
    rows = query(root, question).to_pylist()
    return rows[0]["dataset"], sorted(row["encoder"] for row in rows)


def test_every_pair_is_trained_in_the_order_in_which_they_were_typed(
    both: Command, models: list[str], root: Path
) -> None:
    outcome = both("train", *FEW)
    assert (outcome.code, outcome.out.count("2 runs trained")) == (0, 4)
    rows = query(root, "SELECT dataset, model FROM requests ORDER BY asked_at").to_pylist()
    asked = [(row["dataset"], row["model"]) for row in rows]
    assert asked == [(name, model) for name in ("photos", "plants") for model in models]
    titles = [line for line in outcome.out.splitlines() if ": test accuracy, %" in line]
    assert [title.split(": test")[0] for title in titles] == [
        f"{row['dataset']} with {row['model']}" for row in rows
    ]


def test_several_summaries_are_a_list_and_one_is_an_object(
    both: Command, command: Command, folders: list[str], models: list[str], root: Path
) -> None:
    several = json.loads(both("extract", "--json").out)
    assert [each["model"] for each in several] == [*models, *models]
    assert [each["encoded"] for each in several] == [90, 90, 60, 60]
    one = command("extract", folders[0], folders[0], "--model", models[0], "--root", root, "--json")
    assert json.loads(one.out)["reused"] == 90


@pytest.mark.parametrize("wrong", [["--model", "glyph"], ["digit"], ["--methods", "gdaa"]])
def test_all_names_are_checked_before_the_first_image_is_encoded(
    both: Command, root: Path, wrong: list[str]
) -> None:
    outcome = both("train", *FEW, *wrong)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("did you mean") == 1
    assert not root.exists()


def test_a_name_is_not_given_to_two_folders(both: Command, root: Path) -> None:
    outcome = both("train", *FEW, "--name", "cats")
    assert (outcome.code, outcome.out) == (1, "")
    assert "--name cats is for one folder of images" in outcome.err
    assert not root.exists()


def test_a_name_is_given_to_a_folder_with_two_models(
    command: Command, folders: list[str], models: list[str], root: Path
) -> None:
    named = [part for model in models for part in ("--model", model)]
    done = command("extract", folders[0], *named, "--root", root, "--name", "cats", "--json")
    assert [each["dataset"] for each in json.loads(done.out)] == ["cats", "cats"]


def test_a_pair_that_fails_does_not_stop_the_others(
    both: Command, folders: list[str], models: list[str], photos: Path
) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"broken")
    outcome = both("extract", "--json")
    assert outcome.code == 1
    answers = json.loads(outcome.out)
    assert ["error" in each for each in answers] == [True, True, False, False]
    assert (answers[1]["dataset"], answers[1]["model"]) == (folders[0], models[1])
    assert [each["encoded"] for each in answers[2:]] == [60, 60]
    failed = [f"{folders[0]} with {model}" for model in models]
    assert outcome.err.splitlines()[-1] == f"2 of 4 failed: {'; '.join(failed)}"
    for pair, answer in zip(failed, answers, strict=False):
        assert f"error: {pair}: {answer['error']}" in outcome.err


def test_each_pair_is_a_flow_run_of_its_own(
    both: Command, folders: list[str], models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []

    def run(flow: str, request: TrainRequest, *, prefect: bool) -> None:
        assert (flow, prefect) == ("train_adapters", True)
        asked.append((request.dataset, request.model))
        raise ClipAdapterError("noted")

    monkeypatch.setattr("clip_adapter.cli.pipeline.run", run)
    assert both("train", "--prefect").code == 1
    assert asked == [(folder, model) for folder in folders for model in models]


@pytest.mark.parametrize("kind", [ExtractRequest, TrainRequest])
def test_the_help_names_the_defaults(command: Command, kind: type[ExtractRequest]) -> None:
    assert option_names(kind)["model"] == "--model"
    words = "by default glyphs for digits, ViT-B-32-quickgelu:openai for other images"
    assert words in str(kind.model_fields["model"].description)
    shown = command(kind.__name__.removesuffix("Request").lower(), "--help").out
    assert words in " ".join(shown.replace("│", " ").split())


def test_a_comparison_asks_which_encoder_and_says_which_it_took(
    both: Command, command: Command, models: list[str], root: Path
) -> None:
    assert both("train", *FEW).code == 0
    dataset, [encoder, other] = plants_in(root)
    asked = ("compare", "gda", "zero-shot", "--dataset", dataset, "--shots", "1", "--root", root)
    refused = command(*asked)
    assert refused.code == 1
    for words in ("2 encoders", "--model", *models, encoder[:8], other[:8]):
        assert words in refused.err
    assert f"({encoder[:8]})" in command(*asked, "--model", encoder[:8]).out
    assert f"{models[1]} (" in command(*asked, "--model", models[1]).out


def test_a_report_has_a_section_for_each_encoder(
    both: Command, command: Command, models: list[str], root: Path, tmp_path: Path
) -> None:
    assert both("train", *FEW).code == 0
    dataset, encoders = plants_in(root)
    page = tmp_path / "page.html"
    assert command("report", "--dataset", dataset, "--root", root, "--to", page).code == 0
    text = page.read_text()
    for encoder in encoders:
        assert f", {encoder[:12]}</td>" in text
    assert len(encoders) == len(models)


def test_a_champion_names_its_encoder(
    command: Command, folders: list[str], models: list[str], root: Path
) -> None:
    named = [part for model in models for part in ("--model", model)]
    trained = command(
        "train",
        folders[1],
        *named,
        "--root",
        root,
        "--shots",
        "4",
        "--seeds",
        "1",
        "--methods",
        "gda",
        "--promote",
        "--max-relabelled-fraction",
        "1",
    )
    assert trained.code == 0
    history = command("champion", folders[1], "--history", "--root", root).out
    for model in models:
        assert f"with {model}" in history


@pytest.mark.parametrize(("n_methods", "first"), [(3, "dataset"), (40, "method")])
def test_a_table_of_many_methods_has_a_line_for_each(n_methods: int, first: str) -> None:
    methods = tuple(f"method number {number}" for number in range(n_methods))
    row = dict.fromkeys(methods, 0.5)
    rows = {"photos": row, "plants": row}
    table = DatasetsTable(model="m", shots=1, columns=methods, rows=rows, failures=())
    console = Console(width=80, record=True, file=StringIO())
    show_tables(console, [table], what="accuracy")
    lines = console.export_text().splitlines()
    header = next(line for line in lines if line.startswith(first))
    assert len([line for line in lines if "50.0" in line]) == (3 if first == "dataset" else 40)
    assert ("plants" in header) == (first == "method")
