import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


@pytest.mark.usefixtures("store")
def test_the_cache_says_what_it_holds(cache: Command) -> None:
    told = json.loads(cache("stats", "--json").out)
    (row,) = told["encoders"]
    assert told["damaged"] == []
    assert sorted(row.pop("models")) == ["[red]again\x1b[2J", "tiny"]
    assert row.pop("bytes") // row.pop("mean_file_bytes") == row["files"] == 5
    assert row == {
        "encoder": "0123456789abcdef",
        "precision": "fp32",
        "width": 4,
        "images": 3,
        "views": 4,
        "prompts": 1,
        "files": 5,
    }


@pytest.mark.usefixtures("store")
def test_a_person_reads_it_in_words_and_no_name_is_obeyed(cache: Command) -> None:
    outcome = cache("stats")
    assert (outcome.code, outcome.err) == (0, "")
    assert "3 images, 4 views, 1 prompts" in outcome.out
    assert "tiny" in outcome.out
    assert r"[red]again\x1b[2J" in outcome.out
    assert "\x1b" not in outcome.out
    assert outcome.out.splitlines()[-1].startswith("1 encoder, 5 files, 0.0 MB in ")


def test_an_empty_cache_says_so(cache: Command, root: Path) -> None:
    root.mkdir()
    assert cache("stats").out == f"no features in {root} yet\n"
    assert json.loads(cache("stats", "--json").out)["encoders"] == []


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("harm", ["flip", "cut"])
def test_a_damaged_file_is_named_and_not_counted(
    cache: Command,
    image_files: list[Path],
    flip_a_bit: Callable[[Path], None],
    place: int,
    harm: str,
) -> None:
    path = image_files[place]
    flip_a_bit(path) if harm == "flip" else path.write_bytes(path.read_bytes()[:-9])
    outcome = cache("stats")
    assert outcome.code == 1
    assert str(path) in outcome.out
    assert outcome.out.endswith("; 1 damaged and not counted\n")
    (row,) = json.loads(cache("stats", "--json").out)["encoders"]
    assert row["views"] == 2
    assert row["width"] == 4
