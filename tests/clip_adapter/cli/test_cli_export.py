"""The export command, on the champion of the golden store."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STORE = Path(__file__).parents[2] / "golden" / "store-2"
CHAMPION = "champion:imagefolder-colours-87987479"
Command = Callable[..., Any]


def test_a_folder_is_written_and_its_agreement_printed(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "head"
    outcome = command("export", CHAMPION, "--root", STORE, "--to", place, "--no-encoder", "--json")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert printed["largest_difference"] < 1e-4
    assert (printed["n_images"], printed["n_unreadable"]) == (64, 0)
    assert sorted(printed["files"]) == sorted(path.name for path in place.iterdir())
    again = command("export", CHAMPION, "--root", STORE, "--to", place, "--no-encoder")
    assert (again.code, "exists" in again.err) == (1, True)


@pytest.mark.slow
def test_images_to_compare_on_are_named(command: Command, tmp_path: Path) -> None:
    colours = STORE.parent / "colours"
    place = tmp_path / "model"
    outcome = command(
        "export", CHAMPION, "--root", STORE, "--to", place, "--images", colours, "--max-images", 20
    )
    assert outcome.code == 0, outcome.err
    assert "agree on 20 images that were named" in outcome.out
    none = command(
        "export", CHAMPION, "--root", STORE, "--to", tmp_path / "x", "--images", tmp_path / "model"
    )
    assert none.code == 1
    assert "no image among" in none.err
    assert not (tmp_path / "x").exists()


def test_an_unknown_champion_is_one_line(command: Command, tmp_path: Path) -> None:
    outcome = command("export", "champion:cats", "--root", STORE, "--to", tmp_path / "new")
    assert outcome.code == 1
    assert outcome.err.startswith("error: unknown dataset in this store 'cats'")
    assert not (tmp_path / "new").exists()
