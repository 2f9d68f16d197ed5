"""Published datasets on the command line: listed, fetched, drawn from and trained on by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_adapter.datasets import PROMPT_STYLES, describe, descriptions, known_names

Command = Callable[..., Any]
COLOURS = """
title: Colours
what: squares of 3 colours
folders: [own_colours]
split_folders: {train: training, test: testing}
class_folders: yes
classes: [red, green, {blue: deep blue}]
templates: ["a {} square."]
"""


@pytest.fixture(name="data")
def _data(tmp_path: Path, put_photos: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of datasets with one that is known and small."""
    monkeypatch.setattr(descriptions, "FOLDER", tmp_path / "known")
    (tmp_path / "known").mkdir()
    (tmp_path / "known" / "own-colours.yaml").write_text(COLOURS)
    for number, colour in enumerate(("red", "green", "blue")):
        folder = tmp_path / "data" / "own_colours"
        put_photos(folder / "training", colour, range(100 * number, 100 * number + 9))
        put_photos(folder / "testing", colour, range(100 * number + 50, 100 * number + 55))
    return tmp_path / "data"


def test_the_list_names_every_dataset_with_its_next_step(
    command: Command, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = command("datasets", "list", "--root", root)
    assert shown.code == 0
    assert max(map(len, shown.out.splitlines())) <= 100
    assert len(shown.out.splitlines()) < 65
    told = json.loads(command("datasets", "list", "--root", root, "--json").out)["next_steps"]
    for name in known_names():
        assert f"│ {name} " in shown.out
        assert told[name] == {
            "present": False,
            "state": "missing",
            "next_step": f"clip-adapter datasets fetch {name}",
        }


def test_a_list_says_what_of_a_dataset_is_there(
    command: Command, root: Path, tmp_path: Path
) -> None:
    for folder, _ in describe("dtd").classes:
        (tmp_path / "dtd" / "images" / folder).mkdir(parents=True)
    (tmp_path / "oxford_pets").mkdir()
    (tmp_path / "oxford_pets" / "split_zhou_OxfordPets.json").write_text("{")
    (tmp_path / "caltech-101" / "101_ObjectCategories" / "Faces").mkdir(parents=True)
    shown = command("datasets", "list", "--root", root, "--data", tmp_path, "--json")
    told = json.loads(shown.out)["next_steps"]
    assert (told["dtd"]["present"], told["dtd"]["state"]) == (True, "images, no split file")
    assert "split_zhou_DescribableTextures.json from https://" in told["dtd"]["next_step"]
    assert told["oxford-pets"]["state"] == told["caltech-101"]["state"] == "incomplete"
    assert "is not JSON" in told["oxford-pets"]["next_step"]
    assert "without the class folders Leopards" in told["caltech-101"]["next_step"]


def test_fetch_says_by_steps_what_it_cannot_download(
    command: Command, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "ucf101").mkdir()
    rows = [
        [f"{folder}/1.jpg", label, folder]
        for label, (folder, _) in enumerate(describe("ucf101").classes)
    ]
    published = json.dumps({"train": rows, "val": [], "test": []})
    (tmp_path / "ucf101" / "split_zhou_UCF101.json").write_text(published)
    outcome = command("datasets", "fetch", "ucf101", "--root", root, "--data", tmp_path)
    assert outcome.code == 1
    assert "1. Download UCF-101-midframes.zip from https://" in outcome.out
    assert f"unpack it in {tmp_path / 'ucf101'}" in outcome.out
    assert "2. clip-adapter train ucf101" in outcome.out
    shown = command("datasets", "fetch", "ucf101", "--root", root, "--data", tmp_path, "--json")
    assert (json.loads(shown.out)["is_present"], shown.code) == (False, 1)


def test_fetch_asks_for_a_licence_to_be_accepted(command: Command, root: Path) -> None:
    outcome = command("datasets", "fetch", "fgvc_aircraft", "--root", root)
    assert outcome.code == 1
    assert "non-commercial research" in outcome.err
    assert "--accept-licence" in outcome.err


def test_a_dataset_is_trained_on_by_either_spelling(
    command: Command, data: Path, root: Path, tiny_model: str
) -> None:
    quick = ("--shots", "1", "--seeds", "1", "--methods", "zero-shot,gda")
    place = ("--root", root, "--data", data, "--model", tiny_model)
    first = command("train", "own_colours", *quick, *place)
    assert first.code == 0, first.err
    again = json.loads(command("train", "own-colours", *quick, *place, "--json").out)
    assert (again["dataset"], again["runs_trained"], again["runs_on_record"]) == (
        "own-colours",
        0,
        2,
    )
    shown = json.loads(command("datasets", "show", "own_colours", "--root", root, "--json").out)
    assert shown["splits"]["deep blue"] == {"train": 9, "val": 0, "test": 5}
    sql = "SELECT DISTINCT templates FROM runs"
    told = command("sql", sql, "--format", "json", "--root", root)
    assert json.loads(told.out) == [{"templates": ["a {} square."]}]


def test_a_dry_run_lists_runs_and_images_and_writes_nothing(
    command: Command, data: Path, root: Path
) -> None:
    asked = ("train", "own_colours", "--shots", "2", "--seeds", "1,2", "--dry-run")
    place = ("--root", root, "--data", data)
    outcome = command(*asked, *place)
    assert outcome.code == 0, outcome.err
    assert "own-colours: present" in outcome.out
    assert "5 runs of zero-shot, linear-probe, clip-adapter" in outcome.out
    assert "ranked by their paths" in outcome.out
    assert "2 shots, seed 2: 6 images to train on, 6 to validate, digest " in outcome.out
    assert not root.exists()
    told = json.loads(command(*asked, *place, "--json").out)
    assert (told["n_runs"], told["ranked_by"], len(told["draws"])) == (5, "path", 2)
    for draw in told["draws"]:
        assert len(draw["train"]) == 6
        assert all((data / "own_colours" / path).is_file() for path in draw["train"] + draw["val"])


def test_a_dry_run_draws_what_training_takes_once_a_dataset_is_indexed(
    command: Command, data: Path, root: Path, tiny_model: str
) -> None:
    asked = ("own_colours", "--shots", "2", "--seeds", "1", "--methods", "gda")
    place = ("--root", root, "--data", data)
    assert command("train", *asked, *place, "--model", tiny_model).code == 0
    told = json.loads(command("train", *asked, *place, "--dry-run", "--json").out)
    assert told["ranked_by"] == "content"
    sql = "SELECT path FROM splits JOIN images USING (image_sha256) WHERE role = 'train'"
    trained = command("sql", sql, "--format", "json", "--root", root)
    (draw,) = told["draws"]
    assert sorted(row["path"] for row in json.loads(trained.out)) == sorted(draw["train"])


def test_a_prompt_style_is_a_template(
    command: Command, data: Path, root: Path, tiny_model: str
) -> None:
    place = ("--root", root, "--data", data, "--model", tiny_model)
    quick = ("--shots", "1", "--seeds", "1", "--methods", "zero-shot", "--template", "ensemble")
    assert command("train", "own_colours", *quick, *place).code == 0
    told = command("sql", "SELECT templates FROM runs", "--format", "json", "--root", root)
    assert json.loads(told.out) == [{"templates": list(PROMPT_STYLES["ensemble"])}]
