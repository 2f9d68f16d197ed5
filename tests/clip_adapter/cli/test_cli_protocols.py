"""The field's protocols on the command line, and the table of several datasets."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.pipeline import reproduce_all
from clip_adapter.pipeline.datasets import KnownDataset

Command = Callable[..., Any]
PutPhotos = Callable[..., Path]
FEW = ("--shots", "1,2", "--seeds", "1,2", "--methods", "zero-shot,gda,tip-adapter")


@pytest.fixture(name="plants")
def _plants(tmp_path: Path, put_photos: PutPhotos) -> str:
    for class_name, colour in (("cherry", "red"), ("leaf", "green")):
        put_photos(tmp_path / "plants", class_name, range(100, 130), colour=colour)
    return f"imagefolder:{tmp_path / 'plants'}"


def cells(text: str, begin: str) -> list[str]:
    (line,) = [each for each in text.splitlines() if each.startswith(f"{begin} ")]
    return line.removeprefix(begin).split()


def test_several_datasets_end_in_one_table(
    command: Command, photos: Path, plants: str, root: Path, tiny_model: str
) -> None:
    named = ["imagefolder:/nowhere", f"imagefolder:{photos}", plants]
    asked = ("train", *named, "--model", tiny_model, "--root", root, *FEW)
    outcome = command(*asked)
    assert outcome.code == 1
    table = outcome.out.rpartition("test accuracy, ")[2]
    assert table.startswith(f"{tiny_model}, 2 shots, %")
    assert cells(table, "dataset") == ["zero-shot", "gda", "tip-adapter"]
    values = [cells(table, name) for name in ("photos", "plants", "mean of 2")]
    for one, other, mean in zip(*values, strict=True):
        assert float(mean) == pytest.approx((float(one) + float(other)) / 2, abs=0.11)
    assert cells(table, "imagefolder:/nowhere") == ["-", "-", "-"]
    assert "- imagefolder:/nowhere: there is no folder /nowhere" in table
    assert outcome.err.splitlines()[-1].startswith("1 of 3 failed: imagefolder:/nowhere with ")
    again = command(*asked, "--table-shots", "1,2")
    assert "0 runs trained" in again.out
    assert again.out.count("dataset  ") == 2
    told = json.loads(command(*asked, "--json").out)
    assert ["error" in each for each in told] == [True, False, False]
    wrong = command(*asked, "--table-shots", "8")
    assert (wrong.code, wrong.out) == (2, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("digits", "--table-shots", "1"), "--table-shots is for the table of several datasets"),
        (
            ("digits", "eurosat", "--table-shots", "1", "--dry-run"),
            "--table-shots is for the table",
        ),
        (("digits", "eurosat", "--table-shots", "1", "--json"), "--table-shots is for the table"),
        (("digits", "eurosat", "--table-shots", "1", "--budget", "9"), "--table-shots is for the"),
        (
            ("digits", "eurosat", "--table-shots", "8", "--shots", "1,all"),
            "that are trained: 1, all",
        ),
        (("digits", "--dry-run", "--prefect"), "--prefect is given together with --dry-run"),
    ],
)
def test_an_option_that_could_change_nothing_is_refused(
    command: Command, root: Path, words: tuple[str, ...], said: str
) -> None:
    outcome = command("train", *words, "--root", root)
    assert (outcome.code, outcome.out) == (2, "")
    assert said in " ".join(outcome.err.replace("│", " ").split())
    assert not root.exists()


def test_a_method_that_fails_is_listed_beside_the_table(
    command: Command, photos: Path, plants: str, root: Path, tiny_model: str
) -> None:
    asked = ("train", f"imagefolder:{photos}", plants, "--model", tiny_model, "--root", root)
    few = ("--shots", "1", "--seeds", "1", "--methods", "zero-shot,clip-adapter")
    settings = ("clip-adapter.learning_rate=1e15", "clip-adapter.weight_decay=1e15")
    diverging = [word for setting in settings for word in ("--set", setting)]
    outcome = command(*asked, *few, *diverging)
    assert outcome.code == 1
    table = outcome.out.rpartition("test accuracy, ")[2]
    assert cells(table, "dataset") == ["zero-shot"]
    assert [len(cells(table, name)) for name in ("photos", "plants")] == [1, 1]
    assert f"- {plants}: clip-adapter: " in table
    assert outcome.err.splitlines()[-1].startswith("2 of 2 failed: ")
    told = json.loads(command(*asked, *few, *diverging, "--json").out)
    assert [each["dataset"] for each in told] == ["photos", "plants"]
    assert all("diverged" in each["error"] for each in told)


def test_base_to_new_is_shown_in_place_of_the_leaderboard(
    command: Command, photos: Path, root: Path, tiny_model: str
) -> None:
    asked = ("train", f"imagefolder:{photos}", "--model", tiny_model, "--root", root, *FEW)
    outcome = command(*asked, "--protocol", "base-to-new")
    assert outcome.code == 0
    assert "photos with" in outcome.out
    assert "base to new: test accuracy, %" in outcome.out
    rows = [line for line in outcome.out.splitlines() if line.startswith("tip-adapter")]
    assert [(row.split()[1:3], row.count("±")) for row in rows] == [
        (["1", "shot"], 3),
        (["2", "shots"], 3),
    ]
    told = json.loads(command(*asked, "--protocol", "base-to-new", "--json").out)
    assert (told["runs_trained"], told["leaderboard"]) == (0, [])
    assert [row["method"] for row in told["base_to_new"]] == ["zero-shot", *["tip-adapter"] * 2]
    assert "base_to_new" not in json.loads(command(*asked, "--json").out)


def test_other_datasets_are_tested_on(
    command: Command, photos: Path, plants: str, root: Path, tiny_model: str
) -> None:
    asked = ("train", f"imagefolder:{photos}", "--model", tiny_model, "--root", root, *FEW)
    outcome = command(*asked, "--test-on", plants)
    assert outcome.code == 0
    assert "gda is not tested on plants" in outcome.err
    rows = [line.split() for line in outcome.out.splitlines() if line.startswith("plants ")]
    assert [row[1:3] for row in rows] == [
        ["cross-dataset", method] for method in ("zero-shot", "tip-adapter", "tip-adapter")
    ]
    assert [row.count("±") for row in rows] == [0, 2, 2]
    told = json.loads(command(*asked, "--test-on", plants, "--json").out)
    assert {(row["source"], row["target"], row["protocol"]) for row in told["shift"]} == {
        ("photos", "plants", "cross-dataset")
    }
    leaders = {row["method"] for row in told["leaderboard"]}
    assert leaders == {"zero-shot", "gda", "tip-adapter"}


def test_a_budget_is_told_apart_on_the_leaderboard(
    command: Command, photos: Path, root: Path, tiny_model: str
) -> None:
    place = ("train", f"imagefolder:{photos}", "--model", tiny_model, "--root", root)
    few = ("--seeds", "1,2", "--methods", "gda")
    command(*place, *few, "--shots", "4")
    outcome = command(*place, *few, "--budget", "12")
    assert outcome.code == 0
    names = {line.split("  ")[0] for line in outcome.out.splitlines() if line.startswith("gda")}
    assert names == {
        "gda (selection validation, own splits)",
        "gda (selection held-out shots, budget of 12 images)",
    }
    assert "the shots of a budget are the mean number a class" in outcome.out
    refused = command(*place, *few, "--budget", "12", "--shots", "4")
    assert refused.code == 1
    assert "--shots is given together with --budget" in refused.err


def test_a_study_on_all_that_is_present_ends_in_one_table(
    command: Command,
    photos: Path,
    root: Path,
    tiny_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = [
        KnownDataset(name=f"imagefolder:{photos}", what="x", is_present=True, next_step=""),
        KnownDataset(name="dtd", what="x", is_present=False, next_step="download dtd"),
    ]
    monkeypatch.setattr(reproduce_all, "known_datasets", lambda _: known)
    place = ("--model", tiny_model, "--root", root, "--recipe", "fast")
    asked = ("reproduce", "output-activation", "all", *place, "--shots", "1,2", "--seeds", "1")
    outcome = command(*asked)
    assert outcome.code == 0
    assert "4 runs trained, 0 recorded already" in outcome.out
    assert "output-activation: test accuracy" in outcome.out
    assert cells(outcome.out, "dtd") == ["-", "-"]
    assert "- dtd: download dtd" in outcome.out
    told = json.loads(command(*asked, "--json").out)
    assert (told["runs_trained"], told["runs_on_record"]) == (0, 4)
    (table,) = told["tables"]
    assert set(table["rows"]["photos"]) == set(table["columns"])
    assert [each["dataset"] for each in table["failures"]] == ["dtd"]
